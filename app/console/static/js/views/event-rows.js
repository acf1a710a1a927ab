// Events as rows, each with the data of its kind.
import { html } from "../../vendor/preact.js";
import { Moment } from "../parts/age.js";
import { addressOf } from "../state/route.js";
import { line } from "../text/visible.js";
import { stringify } from "../text/json.js";

const COMMON = new Set(["cursor", "kind", "at", "task_id", "session_id", "attempt", "key", "namespace"]);

const ID = /\b([TSRKWHN]-[0-9a-z]{5})[0-9a-z]{17}([0-9a-z]{4})\b/g;

/** Returns the data of an event's kind in one line. */
export function detailOf(event) {
  return wholeDetailOf(event).replace(ID, "$1…$2");
}

const isNothing = (value) => value === null || (Array.isArray(value) && !value.length);

function wholeDetailOf(event) {
  return Object.entries(event).filter(([name, value]) => !COMMON.has(name) && !isNothing(value)).map(([name, value]) => `${name.replaceAll("_", " ")} ${typeof value === "string" ? value : stringify(value)}`).join(", ");
}

/** One event. `whole` adds the columns that the page of a single task omits. */
export function EventRow({ event, whole = false }) {
  return html`<div class=${`event-row ${whole ? "whole" : ""}`}>
    <${Moment} at=${event.at} />
    <span class=${`kind ${event.kind}`}><span class="dot" aria-hidden="true"></span>${event.kind.replaceAll("_", " ")}</span>
    ${whole && html`<span class="about">${event.task_id ? html`<a href=${addressOf("task", event.task_id)}>${event.task_id.slice(0, 12)}…${event.task_id.slice(-4)}</a>` : event.session_id ? `${event.session_id.slice(0, 12)}…` : ""}</span>`}
    <span class="detail">${event.attempt ? `attempt ${event.attempt} ` : ""}${line(detailOf(event), 200)}${event.key ? html` <a href=${addressOf("inbox", event.key)}>question</a>` : ""}</span>
  </div>`;
}

export function EventRows({ events }) {
  if (!events.length) return html`<p class="hint">None yet.</p>`;
  return html`<ol class="event-rows">${events.map((event) => html`<li key=${event.cursor}><${EventRow} event=${event} /></li>`)}</ol>`;
}
