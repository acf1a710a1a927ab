// The choice of a spawner: the kinds that the server has, and the fields of each.
import { html, useState } from "../../vendor/preact.js";

export const KINDS = {
  queue: [["queue", "Queue", "text"]],
  in_process: [["function", "Function", "text"]],
  process: [["program", "Program", "text"]],
  operator: [["backend_id", "Backend id", "text"]],
  http: [["url", "URL", "url"]],
  external: [],
};

/** [fields, spawner]: the fields to draw, and the spawner that they describe. `first` has the initial values. */
export function useSpawner(first) {
  const [spawner, setSpawner] = useState(first ?? { kind: "queue", queue: "default" });
  const known = KINDS[spawner.kind];
  const fields = html`
    <label>Spawner<select value=${spawner.kind} onChange=${(event) => setSpawner({ kind: event.target.value })}>
      ${[...new Set([spawner.kind, ...Object.keys(KINDS)])].map((kind) => html`<option key=${kind} value=${kind}>${kind}</option>`)}</select></label>
    ${(known ?? []).map(([name, label, type]) => html`<label key=${name}>${label}<input required type=${type} value=${spawner[name] ?? ""} onInput=${(event) => setSpawner({ ...spawner, [name]: event.target.value })} /></label>`)}
    ${spawner.kind === "external" && html`<p class="hint">Nothing is started: you get the worker’s handle and hand it on.</p>`}`;
  return [fields, spawner];
}
