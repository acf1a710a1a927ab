// The dialog that dispatches a task, by default with the spawner of the last attempt.
import { html, useRef, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { ask } from "../state/session.js";
import { useSpawner } from "./dispatching.js";
import { Handed } from "./handed.js";

export function DispatchDialog({ facts: { task, attempts }, onDone, onClose }) {
  const last = attempts.at(-1);
  const [fields, spawner] = useSpawner(last?.spawner);
  const [layers, setLayers] = useState(last?.layers.join(" ") ?? "");
  const [handle, setHandle] = useState(null);
  const once = useRef(crypto.randomUUID());
  const act = async () => {
    const body = { spawner, layers: layers.split(/[\s,]+/).filter(Boolean) };
    const reply = await ask("operator", "POST", `/v1/operator/tasks/${task.id}/dispatch`, { body, headers: { "Idempotency-Key": once.current } });
    if (reply.worker_handle) setHandle(reply.worker_handle);
    else onDone();
  };
  if (handle) return html`<${Handed} handle=${handle} onClose=${onDone} />`;
  return html`<${ActDialog} title="Dispatch" label="Start attempt ${task.attempt + 1}" act=${act} onDone=${() => {}} onClose=${onClose}>
    ${fields}
    <label>Layers<input value=${layers} placeholder="by key, separated by spaces" onInput=${(event) => setLayers(event.target.value)} /></label>
  <//>`;
}
