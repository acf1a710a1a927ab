// Dispatching paused: the banner that every page shows meanwhile, and the dialog that asks before it is.
import { html, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { Moment } from "../parts/age.js";
import { useBusy } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { refreshStats, stats } from "../state/rates.js";
import { ask, held, may } from "../state/session.js";
import { line } from "../text/visible.js";

async function turn(what) {
  await ask("senior", "POST", `/v1/senior/loop/${what}`);
  await refreshStats();
}

export function PausedBanner() {
  const [run, busy, problem] = useBusy();
  const loop = stats.value?.loop;
  if (!loop?.paused && !loop?.all?.paused) return null;
  const of = (who) => html`${line(who.by ?? "somebody", 40)}${who.since && html` at <${Moment} at=${who.since} />`}`;
  return html`<p class="paused">${loop.all?.paused && html`<span><b>Dispatching of all namespaces is paused</b> by ${of(loop.all)}: nothing new starts until the holder of the root key resumes it.</span>`}
    ${loop.paused && html`<span><b>Dispatching is paused</b> by ${of(loop)}: what runs goes on, and nothing new starts.</span>
      ${may("senior") && html`<button type="button" disabled=${busy} onClick=${() => run(() => turn("resume"))}>Resume dispatching</button>`}`}<${Trouble} problem=${problem} /></p>`;
}

/** Whether dispatching runs, and the button that pauses it. */
export function Dispatching() {
  const [asked, setAsked] = useState(false);
  const loop = stats.value?.loop;
  if (!loop) return null;
  const paused = loop.paused || loop.all?.paused;
  const { namespace } = held.value;
  return html`<span class=${`badge ${paused ? "blocked" : "pass"}`}><span class="dot" aria-hidden="true"></span>${paused ? "dispatching is paused" : "dispatching"}</span>
    ${may("senior") && !loop.paused && html`<button type="button" class="small end" onClick=${() => setAsked(true)}>Pause dispatching…</button>`}
    ${asked && html`<${ActDialog} title="Pause dispatching?" label="Pause dispatching" danger=${true} act=${() => turn("pause")} onDone=${() => setAsked(false)} onClose=${() => setAsked(false)}>
      <p>No new attempt starts${namespace && namespace !== "default" ? ` in the namespace ${line(namespace, 60)}` : ""} until somebody resumes it: dispatches are refused, workers claim nothing, and retries wait.</p>
      <p>Attempts that run go on, and questions can be answered. Everybody sees who paused it.</p><//>`}`;
}
