// The page of one task: actions, timeline, and all details.
import { html, useEffect, useMemo } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { Answerer } from "../parts/answerer.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { Trouble } from "../parts/problem.js";
import { Preview, Text, Value } from "../parts/text.js";
import { useKeys } from "../state/keys.js";
import { fetchQuestion } from "../state/questions.js";
import { addressOf, go } from "../state/route.js";
import { TaskStory } from "../state/task.js";
import { questionLine } from "../text/title.js";
import { line } from "../text/visible.js";
import { Actions } from "./actions.js";
import { Attempts } from "./attempts.js";
import { Children } from "./children.js";
import { EventRows } from "./event-rows.js";
import { Timeline } from "./timeline.js";
import { Why } from "./why.js";

export function TaskPage({ id }) {
  const story = useMemo(() => new TaskStory(id), [id]);
  useEffect(() => story.watch(), [story]);
  useKeys({
    r: () => void story.read(),
    Escape: (event) => (event.target.matches("textarea, input, select") ? event.target.blur() : go("tasks")),
  });
  const facts = story.facts.value;
  if (!facts) return html`<div class="blank"><h1>Task</h1><${Trouble} problem=${story.problem.value} />${!story.problem.value && html`<p>Reading…</p>`}</div>`;
  const { task, questions } = facts;
  return html`<article class="task">
    <header>
      <a class="back" href=${addressOf("tasks")}><${Icon} name="back" />Tasks</a>
      <h1><span class="agent">${line(task.spec.agent, 80)}</span> <${Badge} status=${task.status} /></h1>
      <p class="facts"><code>${task.id}</code><span>attempt ${task.attempt}</span><span>version ${task.version}</span><span>made <${Age} at=${task.created_at} suffix=" ago" /></span><span>changed <${Age} at=${task.updated_at} suffix=" ago" /></span>
        ${task.parent_task_id && html`<a href=${addressOf("task", task.parent_task_id)}>parent task</a>`}
        ${Object.entries(task.labels).map(([name, label]) => html`<span class="tag" key=${name}>${line(name, 60)}: ${line(label, 100)}</span>`)}</p>
      <${Actions} facts=${facts} onDone=${() => story.read()} />
      <${Trouble} problem=${story.problem.value} />
    </header>
    <${Timeline} facts=${facts} events=${story.events.value} />
    <div class="columns">
      <div class="column">
        <${Why} why=${facts.why} />
        <section><h2>Directive</h2><${Text} text=${task.spec.initial_directive} label="The directive" /></section>
        ${task.last_result !== null && html`<section><h2>Last result</h2><${Value} value=${task.last_result} label="The last result" /></section>`}
        <${Attempts} facts=${facts} onDone=${() => story.read()} />
      </div>
      <div class="column">
        ${questions.length > 0 && html`<section><h2>Questions</h2><ol class="earlier">${questions.map((one) => html`<li key=${one.key}><p><a href=${addressOf("inbox", one.key)}>${questionLine(one, 200)}</a> <${Badge} status=${one.status} /></p>
          ${one.status === "answered" && html`<blockquote><${Preview} value=${one.answer} cut=${one.cut?.includes("answer")} whole=${async () => (await fetchQuestion(one.key)).answer} label="The answer" /><${Answerer} question=${one} /></blockquote>`}</li>`)}</ol></section>`}
        <${Children} facts=${facts} />
        <section><h2>Events</h2><${EventRows} events=${story.events.value.slice(-200).reverse()} /></section>
      </div>
    </div>
  </article>`;
}
