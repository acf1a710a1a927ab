// The dialog for a new task, which is dispatched at once by default.
import { html, useRef, useState } from "../../vendor/preact.js";
import { useBusy } from "../parts/busy.js";
import { Dialog } from "../parts/dialog.js";
import { Trouble } from "../parts/problem.js";
import { go } from "../state/route.js";
import { ask } from "../state/session.js";
import { useSpawner } from "./dispatching.js";
import { Handed } from "./handed.js";

/** Parses `a:1, b:2` as labels. */
function labelsOf(text) {
  const pairs = text.split(",").map((pair) => pair.trim()).filter((pair) => pair.includes(":"));
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf(":")).trim(), pair.slice(pair.indexOf(":") + 1).trim()]));
}

export function NewTask({ onClose }) {
  const [agent, setAgent] = useState("");
  const [directive, setDirective] = useState("");
  const [labels, setLabels] = useState("");
  const [dispatched, setDispatched] = useState(true);
  const [handed, setHanded] = useState(null);
  const [fields, spawner] = useSpawner();
  const [run, busy, problem] = useBusy();
  // One idempotency key for all retries: a task whose reply was lost is not created twice.
  const once = useRef(crypto.randomUUID());
  const start = () => run(async () => {
    const body = { agent: agent.trim(), initial_directive: directive, labels: labelsOf(labels) };
    const task = await ask("operator", "POST", "/v1/operator/tasks", { body, headers: { "Idempotency-Key": `${once.current}-task` } });
    if (!dispatched) return go("task", task.id);
    const reply = await ask("operator", "POST", `/v1/operator/tasks/${task.id}/dispatch`, { body: { spawner }, headers: { "Idempotency-Key": `${once.current}-dispatch` } });
    if (reply.worker_handle) setHanded({ handle: reply.worker_handle, id: task.id });
    else go("task", task.id);
  });
  if (handed) return html`<${Handed} handle=${handed.handle} onClose=${() => go("task", handed.id)} />`;
  return html`<${Dialog} title="New task" onClose=${onClose}>
    <form onSubmit=${(event) => (event.preventDefault(), start())}>
      <label>Agent<input required maxlength="200" value=${agent} onInput=${(event) => setAgent(event.target.value)} /></label>
      <label>Directive<textarea required rows="5" value=${directive} onInput=${(event) => setDirective(event.target.value)}></textarea></label>
      <label>Labels<input placeholder="key:value, key:value" value=${labels} onInput=${(event) => setLabels(event.target.value)} /></label>
      <label class="check"><input type="checkbox" checked=${dispatched} onChange=${(event) => setDispatched(event.target.checked)} />Dispatch it now</label>
      ${dispatched && fields}
      <${Trouble} problem=${problem} />
      <div class="buttons"><button class="main" type="submit" disabled=${busy}>Start</button><button type="button" onClick=${onClose}>Leave it</button></div>
    </form>
  <//>`;
}
