// The chain of what a task waits for, nearest first.
import { html } from "../../vendor/preact.js";
import { Age, Moment } from "../parts/age.js";
import { addressOf } from "../state/route.js";
import { line, visible } from "../text/visible.js";
import { stringify } from "../text/json.js";

const TOLD = new Set(["kind", "detail", "since", "key", "task_id"]);

export function Why({ why }) {
  return html`<section class="why"><h2>Why</h2><p>${visible(why.summary)}</p>
    <ol>${why.chain.map((link, index) => html`<li key=${index}><b>${line(link.kind, 40)}</b> ${line(link.detail ?? "", 300)}
      ${link.since && html` <span class="hint">since <${Age} at=${link.since} /></span>`}
      ${link.key && html` <a href=${addressOf("inbox", link.key)}>the question</a>`}
      ${link.task_id && html` <a href=${addressOf("task", link.task_id)}>the task</a>`}
      <dl class="more">${Object.entries(link).filter(([name, value]) => !TOLD.has(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length)).map(([name, value]) => html`<div key=${name}><dt>${name.replaceAll("_", " ")}</dt><dd>${shown(value)}</dd></div>`)}</dl></li>`)}</ol></section>`;
}

function shown(value) {
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT.*Z$/.test(value)) return html`<${Moment} at=${value} />`;
  if (Array.isArray(value)) return line(`${value.slice(-3).join(", ")}${value.length > 3 ? ` and ${value.length - 3} more` : ""}`, 160);
  return line(typeof value === "string" ? value : stringify(value), 160);
}
