// The page of one task: what it is, how it came out and what to do next; then its work; then the facts, folded away.
import { html, useEffect, useMemo } from "../../vendor/preact.js";
import { Age, Took } from "../parts/age.js";
import { Answerer } from "../parts/answerer.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { Id } from "../parts/id.js";
import { Trouble } from "../parts/problem.js";
import { Preview, Text } from "../parts/text.js";
import { listAddress, spelled } from "../state/filters.js";
import { useKeys } from "../state/keys.js";
import { fetchQuestion } from "../state/questions.js";
import { addressOf } from "../state/route.js";
import { TaskStory } from "../state/task.js";
import { questionLine, titleOf } from "../text/title.js";
import { duration } from "../text/times.js";
import { usedText } from "../text/usage.js";
import { line } from "../text/visible.js";
import { Actions } from "./actions.js";
import { Attempts } from "./attempts.js";
import { Children } from "./children.js";
import { EventRows } from "./event-rows.js";
import { Outcome } from "./outcome.js";
import { Timeline } from "./timeline.js";
import { Why } from "./why.js";

const TITLE = 160;
const LONG_MS = 60_000;

export function TaskPage({ id }) {
  const story = useMemo(() => new TaskStory(id), [id]);
  useEffect(() => story.watch(), [story]);
  useKeys({
    r: () => void story.read(),
    Escape: (event) => (event.target.matches("textarea, input, select") ? event.target.blur() : (location.hash = listAddress.value)),
  });
  const facts = story.facts.value;
  if (!facts) return html`<div class="blank"><h1>Task</h1><${Trouble} problem=${story.problem.value} />${story.problem.value ? html`<p><a href=${listAddress.value}>Go to the tasks</a></p>` : html`<p>Reading…</p>`}</div>`;
  return html`<article class="task">
    <${Head} facts=${facts} />
    <${Outcome} facts=${facts}><${Actions} facts=${facts} onDone=${() => story.read()} /><//>
    <${Trouble} problem=${story.problem.value} />
    <div class="columns">
      <div class="column">
        ${saysMore(facts.task) && html`<section><h2>Directive</h2><${Text} text=${facts.task.spec.initial_directive} label="The directive" /></section>`}
        <${Attempts} facts=${facts} onDone=${() => story.read()} />
      </div>
      <div class="column">
        <${Questions} questions=${facts.questions} />
        <${Children} facts=${facts} />
        <${Facts} facts=${facts} events=${story.events.value} />
      </div>
    </div>
    ${isTold(facts) && html`<section><h2>Timeline</h2><${Timeline} facts=${facts} events=${story.events.value} /></section>`}
  </article>`;
}

/** Whether the directive has more than the title. */
const saysMore = ({ spec }) => spec.initial_directive.trim() !== titleOf(spec.initial_directive, TITLE);

/** Whether a picture says more than a sentence: several attempts, questions, or a long life. */
function isTold({ task, attempts, questions }) {
  const lasted = Date.parse(task.settled_at ?? new Date().toISOString()) - Date.parse(task.created_at);
  return attempts.length > 1 || questions.length > 0 || task.suspended_on.length > 0 || (attempts.length > 0 && lasted > LONG_MS);
}

function Head({ facts: { task, attempts, used } }) {
  const { retry } = task;
  return html`<header>
    <a class="back" href=${listAddress.value}><${Icon} name="back" />Tasks</a>
    <h1><span class="title">${titleOf(task.spec.initial_directive, TITLE) || "A task without words"}</span> <${Badge} status=${task.status} /></h1>
    <p class="facts"><b class="agent">${line(task.spec.agent, 80)}</b>
      ${task.attempt > 0 && html`<span>attempt ${task.attempt}${retry && retry.max_attempts > 1 ? ` of at most ${Math.max(retry.max_attempts, task.attempt)}` : ""}</span>`}
      <span>${task.settled_at ? "took" : "for"} <${Took} from=${task.created_at} to=${task.settled_at} /></span>
      <span>created <${Age} at=${task.created_at} suffix=" ago" /></span>
      <${Used} used=${used} />
      ${attempts.at(-1)?.worker_id && html`<span>worker ${line(attempts.at(-1).worker_id, 60)}</span>`}
      ${task.parent_task_id && html`<a href=${addressOf("task", task.parent_task_id)}>parent task</a>`}
      ${Object.entries(task.labels).map(([name, label]) => html`<a class="tag" key=${name} href=${addressOf("tasks", "", spelled({ labels: [`${name}:${label}`] }))}>${line(name, 60)}: ${line(label, 100)}</a>`)}
      <${Id} id=${task.id} what="task’s id" /></p>
  </header>`;
}

/** Tokens and cost: of the task, and with the tasks below it where these used some. */
function Used({ used: { own, total, tasks, complete } }) {
  const [itself, all] = [usedText(own), usedText(total)];
  return html`${itself && html`<span class="used">used ${itself}</span>`}
    ${all && all !== itself && html`<span class="used">used ${all} with ${complete ? tasks : "10,000 of the"} task${tasks === 1 ? "" : "s"} below it</span>`}`;
}

function Questions({ questions }) {
  if (!questions.length) return null;
  return html`<section><h2>Questions</h2><ol class="earlier">${questions.map((one) => html`<li key=${one.key}><p><a href=${addressOf("inbox", one.key)}>${questionLine(one, 200)}</a> <${Badge} status=${one.status} /></p>
    ${one.status === "answered" && html`<blockquote><${Preview} value=${one.answer} cut=${one.cut?.includes("answer")} whole=${async () => (await fetchQuestion(one.key)).answer} label="The answer" /><${Answerer} question=${one} /></blockquote>`}</li>`)}</ol></section>`;
}

/** What a debugger asks for: the chain of causes, the retry policy, ids, and every event. */
function Facts({ facts: { task, why }, events }) {
  return html`<details class="folded"><summary>Details</summary>
    <${Why} why=${why} />
    <section><h2>Facts</h2><dl class="counts">
      <div><dt>Retries</dt><dd>${retryOf(task.retry)}</dd></div>
      <div><dt>Version</dt><dd>${task.version}</dd></div>
      <div><dt>Depth</dt><dd>${task.spawn_depth}</dd></div>
      ${task.session_id && html`<div><dt>Session</dt><dd><${Id} id=${task.session_id} what="session’s id" /></dd></div>`}
      <div><dt>Id</dt><dd><code>${task.id}</code></dd></div></dl></section>
    <section><h2>Events</h2><${EventRows} events=${events.slice(-200).reverse()} /></section>
  </details>`;
}

function retryOf(retry) {
  if (!retry || retry.max_attempts < 2) return "none by itself";
  const wait = duration(retry.backoff * 1000);
  return `up to ${retry.max_attempts} attempts when ${retry.on.join(", ")}; the first wait is ${wait}${retry.multiplier > 1 ? `, then ${retry.multiplier} times as long each` : ""}`;
}
