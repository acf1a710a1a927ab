// How a task stands, in one box: its result or error, or what it waits for, and what can be done about it.
import { html } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { Typeset } from "../parts/typeset.js";
import { addressOf } from "../state/route.js";
import { REASONS } from "../text/reasons.js";
import { visible } from "../text/visible.js";
import { FirstWorker } from "./first-steps.js";

export function Outcome({ facts, children }) {
  const { task, attempts, why } = facts;
  const last = attempts.at(-1);
  return html`<section class=${`outcome ${task.status}`} aria-label="Outcome">
    <div class="said"><${Said} task=${task} last=${last} why=${why} /></div>
    ${children}
    ${task.last_result !== null && html`<div class="result"><h2>${task.status === "pass" ? "Result" : task.status === "blocked" ? "Error" : "Last result"}</h2><${Typeset} value=${task.last_result} label=${task.status === "blocked" ? "The error" : "The last result"} /></div>`}
    ${needsWorker(last) && why.summary.includes("; 0 workers") && html`<${FirstWorker} queue=${last.spawner.queue} />`}
  </section>`;
}

const needsWorker = (last) => last?.status === "live" && last.phase === "queued" && last.spawner?.queue;

function Said({ task, last, why }) {
  if (task.status === "pass") return html`<p>It passed${task.settled_at && html` <${Age} at=${task.settled_at} suffix=" ago" />`}.</p>`;
  if (task.status === "blocked") {
    const reason = REASONS[last?.reason] ?? (last?.reason ? `It is blocked: ${last.reason.replaceAll("-", " ")}.` : "It is blocked by a verdict.");
    return html`<p>${reason}${last?.detail && html` <span class="detail">${visible(last.detail)}</span>`}</p>`;
  }
  if (task.status === "suspended") {
    return html`<p>It waits for ${task.suspended_on.length === 1 ? html`<a href=${addressOf("inbox", task.suspended_on[0])}>an answer</a>` : `${task.suspended_on.length} answers`}.</p>`;
  }
  return html`<p>${worded(why.summary)}</p>`;
}

/** A sentence of the server, in which names stand between backticks. */
const worded = (text) => visible(text).split("`").map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));
