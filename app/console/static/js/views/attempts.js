// The attempts of a task, the latest first: spawner, outputs, outcome and late results of each.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { Moment } from "../parts/age.js";
import { useBusy } from "../parts/busy.js";
import { Badge } from "../parts/badge.js";
import { Trouble } from "../parts/problem.js";
import { Preview, Text } from "../parts/text.js";
import { ask, may } from "../state/session.js";
import { attemptPath, outputsBehind } from "../state/task.js";
import { REASONS } from "../text/reasons.js";
import { span } from "../text/times.js";
import { usedText } from "../text/usage.js";
import { line } from "../text/visible.js";

const MOST_OUTPUTS = 200;

export function Attempts({ facts, onDone }) {
  const attempts = [...facts.attempts].reverse();
  if (!attempts.length) return null;
  return html`<section><h2>Attempts</h2>${attempts.map((one, index) => html`<${Attempt} key=${one.attempt} attempt=${one} first=${index === 0} task=${facts.task}
    late=${facts.late.get(one.attempt) ?? []} onDone=${onDone} />`)}</section>`;
}

function Attempt({ attempt, task, late, first, onDone }) {
  const [opened, setOpened] = useState(first);
  const whole = () => ask("any", "GET", attemptPath(attempt.task_id, attempt.attempt));
  const cut = attempt.cut ?? [];
  const took = Date.parse(attempt.ended_at ?? new Date().toISOString()) - Date.parse(attempt.started_at);
  const { kind, queue } = attempt.spawner;
  const facts = [queue ? `queue ${queue}` : kind, attempt.layers.length && `layers ${attempt.layers.join(", ")}`, attempt.worker_id && `worker ${attempt.worker_id}`, attempt.reason !== "final" && (REASONS[attempt.reason] ?? attempt.reason), attempt.detail].filter(Boolean);
  const isOwn = attempt.prompt !== task.spec.initial_directive && !(cut.includes("prompt") && task.spec.initial_directive.startsWith(attempt.prompt ?? ""));
  // The result of the task stands above.
  const isNews = attempt.final && JSON.stringify(attempt.final.value) !== JSON.stringify(task.last_result);
  return html`<details class="attempt" open=${first} onToggle=${(event) => event.target.open && setOpened(true)}><summary><b>Attempt ${attempt.attempt}</b> <${Badge} status=${attempt.outcome ?? attempt.phase} />
      <span class="hint"><${Moment} at=${attempt.started_at} />, ${span(took)}</span></summary>
    ${attempt.usage && html`<${Used} usage=${attempt.usage} />`}
    <p class="facts">${facts.map((fact, index) => html`<span key=${index}>${line(fact, 200)}</span>`)}</p>
    ${isOwn && html`<h3>Prompt</h3><${Preview} value=${attempt.prompt} cut=${cut.includes("prompt")} whole=${async () => (await whole()).prompt} label="The prompt" />`}
    ${attempt.system && html`<h3>System prompt</h3><${Text} text=${attempt.system} label="The system prompt" />`}
    ${opened && attempt.outputs > 0 && html`<${Outputs} attempt=${attempt} />`}
    ${isNews && html`<h3>Final</h3><${Preview} value=${attempt.final.value} cut=${cut.includes("final")} whole=${async () => (await whole()).final.value} label="The final result" />`}
    ${late.map((one) => html`<${Late} key=${one.index} late=${one} onDone=${onDone} />`)}
  </details>`;
}

/** What the attempt used in all, and of each model when there are several. */
function Used({ usage }) {
  const { models } = usage;
  const of = ({ model }) => (model === undefined ? "no model named" : line(model, 60));
  return html`<p class="facts used"><span>used ${usedText(usage)}${models.length === 1 && models[0].model ? ` by ${of(models[0])}` : ""}</span>
    ${models.length > 1 && models.map((one) => html`<span key=${one.model ?? ""}>${of(one)}: ${usedText(one)}</span>`)}</p>`;
}

/** The latest outputs of an attempt, read when it is opened; afterwards only new ones are read. */
function Outputs({ attempt }) {
  const [items, setItems] = useState([]);
  const [run, busy, problem] = useBusy();
  const last = useRef(Math.max(0, attempt.outputs - MOST_OUTPUTS));
  useEffect(() => {
    if (busy || last.current >= attempt.outputs) return;
    run(async () => {
      const found = await outputsBehind(attempt, last.current);
      last.current = Math.max(attempt.outputs, found.at(-1)?.seq ?? 0);
      setItems((before) => [...before, ...found].slice(-MOST_OUTPUTS));
    });
  }, [attempt.outputs, busy]);
  const shown = joined(items.filter((one) => one.type !== "final"));
  const live = attempt.status === "live";
  return html`<${Trouble} problem=${problem} />
    ${shown.length > 0 && html`<h3>Output${live ? ", as it comes" : ""}</h3><ol class="outputs" aria-live=${live ? "polite" : undefined} aria-relevant="additions">${shown.map((one) => html`<${Output} key=${one.seq} attempt=${attempt} output=${one} />`)}</ol>`}`;
}

/** The outputs, with pieces of text that follow each other put together. */
function joined(outputs) {
  const found = [];
  for (const one of outputs) {
    const before = found.at(-1);
    const isPiece = (part) => part?.type === "partial" && !part.cut && typeof part.chunk === "string";
    if (isPiece(one) && isPiece(before)) found[found.length - 1] = { ...before, chunk: before.chunk + one.chunk };
    else found.push(one);
  }
  return found;
}

function Output({ attempt, output }) {
  const { type, at, seq } = output;
  const head = html`<${Moment} at=${at} />`;
  if (type === "progress") return html`<li>${head} ${line([output.stage, output.note].filter(Boolean).join(": "), 400)}</li>`;
  const long = Boolean(output.cut);
  const whole = () => ask("any", "GET", attemptPath(attempt.task_id, attempt.attempt, `/output/${seq}`));
  return html`<li>${head} ${type !== "partial" && html`<b>${line(output.name ?? type, 120)}</b>`} <${Preview} value=${long ? null : bodyOf(output)} cut=${long} size=${(output.chunk ?? output.content)?.bytes}
    whole=${async () => bodyOf(await whole())} label=${type === "partial" ? "A piece" : "The content"} /></li>`;
}

function bodyOf({ type, chunk, content }) {
  if (type === "partial") return chunk;
  return content?.kind === "file_ref" ? content.path : content?.value ?? null;
}

function Late({ late, onDone }) {
  const [run, busy, problem] = useBusy();
  const role = may("senior") ? "senior" : "operator";
  const adopt = async () => {
    if (await run(() => ask(role, "POST", `/v1/operator/tasks/${late.task_id}/attempts/${late.attempt}/late/${late.index}/adopt`))) onDone();
  };
  return html`<div class="late"><h3>Came too late <span class="hint"><${Moment} at=${late.received_at} />, ${line(late.reason, 80)}</span></h3><${Preview} value=${late.value} cut=${late.cut?.includes("value")} whole=${async () => (await ask("any", "GET", attemptPath(late.task_id, late.attempt, `/late/${late.index}`))).value} label="The late result" />
    ${late.adopted_at ? html`<p class="hint">Adopted by ${line(late.adopted_by ?? "", 60)}.</p>` : (may("senior") || may("operator")) && html`<button type="button" disabled=${busy} onClick=${adopt}>Adopt this result</button>`}
    <${Trouble} problem=${problem} /></div>`;
}
