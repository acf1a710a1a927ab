// The attempts of a task, the latest first: spawner, outputs, outcome and late results of each.
import { html } from "../../vendor/preact.js";
import { useBusy } from "../parts/busy.js";
import { Badge } from "../parts/badge.js";
import { Trouble } from "../parts/problem.js";
import { Text, Value } from "../parts/text.js";
import { ask, may } from "../state/session.js";
import { moment, span } from "../text/times.js";
import { line } from "../text/visible.js";

const MOST_OUTPUTS = 200;

export function Attempts({ facts, onDone }) {
  const attempts = [...facts.attempts].reverse();
  if (!attempts.length) return null;
  return html`<section><h2>Attempts</h2>${attempts.map((one, index) => html`<${Attempt} key=${one.attempt} attempt=${one} first=${index === 0}
    outputs=${facts.outputs.get(one.attempt) ?? []} late=${facts.late.get(one.attempt) ?? []} onDone=${onDone} />`)}</section>`;
}

function Attempt({ attempt, outputs, late, first, onDone }) {
  const took = Date.parse(attempt.ended_at ?? new Date().toISOString()) - Date.parse(attempt.started_at);
  const facts = [attempt.spawner.kind, attempt.layers.join(" "), attempt.worker_id, attempt.reason, attempt.detail].filter(Boolean);
  return html`<details class="attempt" open=${first}><summary><b>Attempt ${attempt.attempt}</b> <${Badge} status=${attempt.outcome ?? attempt.phase} />
      <span class="hint">${moment(attempt.started_at)}, ${span(took)}</span></summary>
    <p class="facts">${facts.map((fact, index) => html`<span key=${index}>${line(fact, 200)}</span>`)}</p>
    <h3>Prompt</h3><${Text} text=${attempt.prompt} label="The prompt" />
    ${attempt.system && html`<h3>System prompt</h3><${Text} text=${attempt.system} label="The system prompt" />`}
    ${outputs.length > 0 && html`<h3>Outputs</h3><ol class="outputs">${outputs.slice(-MOST_OUTPUTS).map((one) => html`<${Output} key=${one.seq} output=${one} />`)}</ol>`}
    ${attempt.final && !outputs.some((one) => one.type === "final") && html`<h3>Final</h3><${Value} value=${attempt.final.value} label="The final result" />`}
    ${late.map((one) => html`<${Late} key=${one.index} late=${one} onDone=${onDone} />`)}
  </details>`;
}

function Output({ output }) {
  const { type, at } = output;
  const head = html`<time datetime=${at}>${moment(at)}</time> <b>${type}</b>`;
  if (type === "progress") return html`<li>${head} ${line([output.stage, output.note].filter(Boolean).join(": "), 400)}</li>`;
  if (type === "partial") return html`<li>${head} <${Value} value=${output.chunk} label="A piece" /></li>`;
  const body = output.content?.kind === "file_ref" ? output.content.path : output.content?.value ?? null;
  return html`<li>${head} ${type === "artifact" ? line(output.name, 120) : output.ok ? "ok" : "not ok"} <${Value} value=${body} label="The content" /></li>`;
}

function Late({ late, onDone }) {
  const [run, busy, problem] = useBusy();
  const role = may("senior") ? "senior" : "operator";
  const adopt = async () => {
    if (await run(() => ask(role, "POST", `/v1/operator/tasks/${late.task_id}/attempts/${late.attempt}/late/${late.index}/adopt`))) onDone();
  };
  return html`<div class="late"><h3>Came too late <span class="hint">${moment(late.received_at)}, ${line(late.reason, 80)}</span></h3><${Value} value=${late.value} label="The late result" />
    ${late.adopted_at ? html`<p class="hint">Adopted by ${line(late.adopted_by ?? "", 60)}.</p>` : (may("senior") || may("operator")) && html`<button type="button" disabled=${busy} onClick=${adopt}>Adopt this result</button>`}
    <${Trouble} problem=${problem} /></div>`;
}
