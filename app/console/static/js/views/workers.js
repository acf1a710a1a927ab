// The page of workers: who listens to which queue, since when, and what they hold.
import { html, useEffect } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { useKeys } from "../state/keys.js";
import { refreshWorkers, watch, workers } from "../state/rates.js";
import { addressOf } from "../state/route.js";
import { line } from "../text/visible.js";
import { FirstWorker } from "./first-steps.js";

export function WorkersPage() {
  useEffect(() => watch(refreshWorkers), []);
  useKeys({ r: () => void refreshWorkers().catch(() => {}) });
  const found = workers.value;
  if (!found) return html`<div class="blank"><h1>Workers</h1><p>Reading…</p></div>`;
  const { items, queues } = found;
  const waiting = queues.find((queue) => queue.waiting && !queue.workers);
  const listening = items.filter((one) => one.queues.some((queue) => queue.listening)).length;
  return html`<div class="scrolled">
    <div class="bar"><h1>Workers</h1><span class="hint" role="status">${listening} listening</span></div>
    ${(!items.length || (waiting && !listening)) && html`<${FirstWorker} queue=${waiting?.queue} />`}
    ${queues.length > 0 && html`<section><h2>Queues</h2><${Queues} queues=${queues} /></section>`}
    ${items.length > 0 && html`<section><h2>Workers</h2><div class="table" tabindex="0" role="group" aria-label="Workers"><table>
      <thead><tr><th scope="col">Worker</th><th scope="col">State</th><th scope="col">Listens to</th><th scope="col">Since</th><th scope="col">Last seen</th><th scope="col">Holds</th><th scope="col">Key</th></tr></thead>
      <tbody>${items.map((one) => html`<${Row} key=${`${one.key_id} ${one.worker}`} worker=${one} />`)}</tbody></table></div></section>`}
  </div>`;
}

function Row({ worker }) {
  const { queues, holds, held } = worker;
  const listens = queues.filter((queue) => queue.listening);
  const [state, colour] = listens.length ? ["listening", "pass"] : held ? ["working", "running"] : ["gone", "cancelled"];
  const since = (listens.length ? listens : queues).map((queue) => queue.since).sort()[0];
  const seen = [...queues.map((queue) => queue.last_seen), ...holds.map((one) => one.last_seen_at ?? one.since)].sort().at(-1);
  return html`<tr><td><b title=${worker.worker}>${line(worker.worker, 60)}</b></td>
    <td><span class=${`badge ${colour}`}><span class="dot" aria-hidden="true"></span>${state}</span></td>
    <td>${queues.map((queue) => html`<code key=${queue.queue} class=${queue.listening ? "" : "hint"}>${line(queue.queue, 40)}</code> `)}</td>
    <td>${since ? html`<${Age} at=${since} suffix=" ago" />` : "–"}</td><td>${seen ? html`<${Age} at=${seen} suffix=" ago" />` : "–"}</td>
    <td>${held ? holds.slice(0, 3).map((one) => html`<a key=${one.task_id} href=${addressOf("task", one.task_id)} title=${one.task_id}>${line(one.agent, 40)}</a> `) : "–"}${held > 3 && html`<span class="hint">and ${held - 3} more</span>`}</td>
    <td title=${worker.key_id}>${line(worker.key_name ?? worker.key_id, 40)}</td></tr>`;
}

/** How many workers listen to each queue, and how many attempts wait in it. */
export function Queues({ queues }) {
  return html`<dl class="counts">${queues.map(({ queue, workers: count, waiting }) => html`<div key=${queue}><dt><code>${line(queue, 60)}</code></dt>
    <dd class=${waiting && !count ? "left over" : ""}>${count} worker${count === 1 ? "" : "s"}, ${waiting} waiting</dd></div>`)}</dl>`;
}
