// The page of sessions and of registered objects: bridges, hooks, backends, spawners, layers.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { Trouble } from "../parts/problem.js";
import { useFetched } from "../parts/busy.js";
import { useKeys } from "../state/keys.js";
import { onEvents } from "../state/live.js";
import { ask } from "../state/session.js";
import { line } from "../text/visible.js";

const REGISTERED = { senior_bridges: "Senior inboxes", operators: "Operator backends", spawn_hooks: "Spawn hooks", spawners: "Spawners", layers: "Layers" };

async function read(cursor, attached) {
  const [page, registry] = await Promise.all([
    ask("any", "GET", "/v1/operator/sessions", { query: { attached, limit: 100, cursor } }),
    ask("any", "GET", "/v1/operator/registry"),
  ]);
  return { ...page, registry };
}

export function SessionsPage() {
  const [cursors, setCursors] = useState([""]);
  const [attached, setAttached] = useState(true);
  const { value, problem, again } = useFetched(() => read(cursors.at(-1), attached), [cursors, attached]);
  const show = (wanted) => (setCursors([""]), setAttached(wanted));
  useEffect(() => {
    let timer = 0;
    const stop = onEvents((events) => {
      if (events.some((event) => event.kind.startsWith("session_"))) timer ||= setTimeout(() => (timer = 0, again()), 500);
    });
    return () => (clearTimeout(timer), stop());
  }, [cursors]);
  useKeys({ r: () => void again() });
  return html`<div class="scrolled">
    <h1>Sessions and registries</h1><${Trouble} problem=${problem} />
    ${value && html`<section class="registries">${Object.entries(REGISTERED).map(([name, label]) => html`<div key=${name}><h2>${label}</h2>
      ${value.registry[name].length ? html`<ul class="names">${value.registry[name].map((id) => html`<li key=${id}><code>${line(id, 80)}</code></li>`)}</ul>` : html`<p class="hint">None now.</p>`}</div>`)}</section>
    <section><div class="bar"><h2>Sessions</h2><div class="modes" role="group" aria-label="Which sessions"><button type="button" class="small" aria-pressed=${attached} onClick=${() => show(true)}>Attached</button><button type="button" class="small" aria-pressed=${!attached} onClick=${() => show(false)}>Ended</button></div></div>
      ${value.items.length === 0 && html`<p class="hint">${attached ? "Nobody is attached." : "None ended that is still kept."}</p>`}
      <div class="table" tabindex="0" role="group" aria-label="Sessions">
      <table><thead><tr><th scope="col">Who</th><th scope="col">Role</th><th scope="col">State</th><th scope="col">Last seen</th><th scope="col">Attached</th><th scope="col">Kind</th><th scope="col">Ids</th></tr></thead>
        <tbody>${value.items.map((one) => html`<tr key=${one.id}><td title=${one.id}><b>${line(one.operator_id, 40)}</b></td><td>${one.role}</td>
          <td><span class=${`badge ${attached ? "pass" : "cancelled"}`}><span class="dot" aria-hidden="true"></span>${attached ? "attached" : one.attached ? "expired" : "detached"}</span>${one.rebuildable === false ? " (not after a restart)" : ""}</td>
          <td><${Age} at=${one.last_seen} suffix=" ago" /></td><td><${Age} at=${one.attached_at} suffix=" ago" /></td><td>${one.kind ?? "–"}</td>
          <td>${[one.bridge_id, one.hook_id, one.operator_backend_id].filter(Boolean).map((id) => html`<code key=${id}>${line(id, 40)}</code> `)}</td></tr>`)}</tbody></table></div>
      <div class="buttons">${cursors.length > 1 && html`<button type="button" onClick=${() => setCursors(cursors.slice(0, -1))}>Newer</button>`}${value.next_cursor && html`<button type="button" onClick=${() => setCursors([...cursors, value.next_cursor])}>Older</button>`}</div>
    </section>`}
  </div>`;
}
