// The page of one question: the question, its context, and the answer.
import { html, useEffect } from "../../vendor/preact.js";
import { Age, Left, Moment } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { useFetched } from "../parts/busy.js";
import { Icon } from "../parts/icon.js";
import { Trouble } from "../parts/problem.js";
import { Id } from "../parts/id.js";
import { Given } from "../parts/text.js";
import { Typeset } from "../parts/typeset.js";
import { PENDING, sending, undo } from "../state/answers.js";
import { useKeys } from "../state/keys.js";
import { fetchQuestion, questionOf } from "../state/questions.js";
import { addressOf, go } from "../state/route.js";
import { may } from "../state/session.js";
import { literal } from "../text/literal.js";
import { line } from "../text/visible.js";
import { Answer } from "./answer.js";
import { Context } from "./context.js";
import { Handling } from "./handling.js";
import { Settlement } from "./settlement.js";

/** The agent of a question that was asked without a task. */
const ALONE = "ask";

export function QuestionView({ id, onDone }) {
  const known = questionOf(id);
  const { value: whole, problem } = useFetched(() => fetchQuestion(id), [id], known?.status ?? "open");
  const question = whole ? { ...whole, ...newer(known) } : known;
  useKeys({
    o: () => question && go("task", question.task_id),
    Escape: (event) => (event.target.matches("textarea, input, select") ? event.target.blur() : go("inbox")),
  });
  useEffect(() => document.querySelector(".rest")?.scrollTo(0, 0), [id]);
  if (!question) return html`<${Trouble} problem=${problem} />${!problem && html`<p class="empty">Reading…</p>`}`;
  const isOpen = question.status === "open";
  const part = !whole && (question.partial || question.cut?.includes("question"));
  const isWhole = Boolean(whole) || !(known.partial || known.cut?.length);
  const onWay = sending.value[id]?.state;
  return html`<article class="question">
    <header>
      <a class="back" href=${addressOf("inbox")}><${Icon} name="back" />Inbox</a>
      <h1>${question.title ? line(question.title, 200) : heading(question)} <${Badge} status=${question.status} /></h1>
      <p class="facts">
        ${question.title && html`<span class="agent">${line(question.agent, 80)}</span>`}
        <${Age} at=${question.asked_at} suffix=" ago" />
        ${question.attempt > 1 && html`<span>attempt ${question.attempt}</span>`}
        <a href=${addressOf("task", question.task_id)}>Open the task</a>
        <${Id} id=${question.task_id} what="task’s id" />
        <span class="key"><${Id} id=${question.key} what="question’s key" /></span>
        ${question.bridge_id && html`<span>addressed to <b>${line(question.bridge_id, 40)}</b></span>`}
      </p>
      ${isOpen && question.deadline && html`<${Deadline} question=${question} />`}
      ${isOpen && may("senior") && html`<${Handling} question=${question} onLeft=${onDone} />`}
    </header>
    <div class="columns">
      <div class="column">
        <section class="asked" aria-label="What is asked">${(question.question !== null || !part) && html`<${Typeset} value=${question.question} label="The question" />`}</section>
        ${part && html`<p class="hint">Reading the rest…</p>`}
        ${question.action && html`<${Action} question=${question} />`}
        <${Settlement} question=${question} />
        ${isOpen && PENDING.has(onWay) && html`<${OnItsWay} id=${id} entry=${sending.value[id]} />`}
        ${isOpen && isWhole && !PENDING.has(onWay) && html`<${Answer} question=${question} onDone=${onDone} />`}
        <${Trouble} problem=${problem} />
      </div>
      <aside class="column context" aria-label="The worker’s context"><${Context} question=${question} /></aside>
    </div>
  </article>`;
}

/** Who asks, of a question without a title; one that has no task of its own to speak for says so of itself. */
const heading = ({ agent }) => (agent === ALONE ? "A question" : html`<span class="agent">${line(agent, 80)}</span> asks`);

/** What may have changed since the question was read whole. */
function newer(known) {
  if (!known) return {};
  const { status, claim, bridge_id } = known;
  return { claim, ...(bridge_id ? { bridge_id } : {}), ...(status === "open" ? {} : { status }) };
}

/** What the asker wants to do, and what became of it. */
function Action({ question: { action, action_digest: digest, consumed_at: consumed, outcome } }) {
  return html`<section class="asked" aria-label="The action"><h2>Wants to do</h2><${Typeset} value=${action} label="The action" />
    <p class="facts"><code title=${digest}>${digest.slice(0, 19)}…</code>
      ${consumed && html`<span>approval used <${Moment} at=${consumed} /></span>`}
      ${outcome && html`<span>${outcome.status}${outcome.note && html`: ${line(outcome.note, 300)}`}</span>`}</p></section>`;
}

function OnItsWay({ id, entry }) {
  return html`<section class="will-send" aria-label="Your answer, on its way"><h2>${entry.state === "waiting" ? "Sent in a moment" : "Sending…"}</h2><${Given} value=${entry.value} label="Your answer" />
    ${entry.comment && html`<p class="hint">With your comment: ${line(entry.comment, 300)}</p>`}
    ${entry.state === "waiting" && html`<button type="button" class="small" onClick=${() => undo(id)}>Undo</button>`}</section>`;
}

/** What happens when nobody answers, as the asker chose. */
function Deadline({ question: { deadline, on_deadline: policy, default: value, escalate_to: other } }) {
  const then = {
    keep_waiting: "nothing happens, and the task goes on waiting",
    default: html`the answer is <code>${line(literal(value), 120)}</code>`,
    escalate: html`it goes to <b>${line(other ?? "", 60)}</b>`,
    block: "the task is blocked",
  };
  return html`<p class="deadline"><${Left} at=${deadline} />. Nobody answers until <${Moment} at=${deadline} />: ${then[policy]}. That is the asker’s choice.</p>`;
}
