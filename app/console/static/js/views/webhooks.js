// The page of webhooks: how each delivers, why it does not, and what can be done about it. It needs the root key.
import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { Age, Left, Moment } from "../parts/age.js";
import { useBusy, useFetched } from "../parts/busy.js";
import { Copied } from "../parts/copied.js";
import { Dialog } from "../parts/dialog.js";
import { Id } from "../parts/id.js";
import { Trouble } from "../parts/problem.js";
import { now } from "../state/clock.js";
import { useKeys } from "../state/keys.js";
import { notify } from "../state/notices.js";
import { stats } from "../state/rates.js";
import { change, forgetKey, readWebhooks, rootKey, unlock } from "../state/webhooks.js";
import { line, visible } from "../text/visible.js";
import { Command } from "./first-steps.js";

const AGAIN_MS = 5_000;

export function Webhooks() {
  return rootKey.value ? html`<${Opened} />` : html`<${Locked} />`;
}

function Locked() {
  const [key, setKey] = useState("");
  const [run, busy, problem] = useBusy();
  const { active = 0, paused = 0 } = stats.value?.webhooks ?? {};
  const submit = (event) => {
    event.preventDefault();
    void run(() => unlock(key.trim()));
  };
  return html`<div class="scrolled">
    <div class="bar"><h1>Webhooks</h1>${stats.value && html`<span class="hint" role="status">${active} active, ${paused} paused</span>`}</div>
    <form class="unlock" onSubmit=${submit} autocomplete="off">
      <p>Webhooks send what happens here elsewhere, so that the holder of the root key alone looks at them and changes them.</p>
      <label>Root key<input type="password" required autocomplete="off" spellcheck=${false} value=${key} onInput=${(event) => setKey(event.target.value)} placeholder="shk_…" aria-describedby="root-use" /></label>
      <p class="hint" id="root-use">Kept in the memory of this page for 15 minutes, or until it is reloaded.</p>
      <${Trouble} problem=${problem} />
      <div class="buttons"><button class="main" type="submit" disabled=${busy || !key.trim()}>Show the webhooks</button></div>
    </form>
  </div>`;
}

function Opened() {
  const { value, problem, again } = useFetched(readWebhooks, []);
  useKeys({ r: () => void again() });
  useEffect(() => {
    const timer = setInterval(() => document.hidden || void again(), AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<div class="scrolled">
    <div class="bar"><h1>Webhooks</h1><span class="hint" role="status">${value ? `${value.items.length}${value.more ? "+" : ""} in all namespaces` : "Reading…"}</span>
      <button type="button" class="small end" onClick=${forgetKey}>Forget the root key</button></div>
    <${Trouble} problem=${problem} />
    ${value && !value.items.length && html`<div class="empty steps"><h2>No webhook yet</h2>
      <p>A webhook sends events to another system, or messages to people in a chat. Create one from a shell with the root key in <code>SWARMHOLD_KEY</code>; the setting <code>webhooks.allow</code> has to cover its address:</p>
      <${Command} text=${`SWARMHOLD_URL=${location.origin} swarmhold webhooks create https://chat.example/hooks/swarm --name chat --event senior_queried`} /></div>`}
    <ul class="webhooks" aria-label="Webhooks">${value?.items.map((one) => html`<li key=${one.id}><${Webhook} webhook=${one} onChange=${again} /></li>`)}</ul>
  </div>`;
}

/** [the badge's class, its word] of how a webhook delivers. */
function stateOf({ status, failures }) {
  if (status === "paused") return ["blocked", "paused"];
  return failures ? ["suspended", "failing"] : ["pass", "active"];
}

function Webhook({ webhook, onChange }) {
  const { id, name, namespace, url, events, format, cursor, delivered, delivered_at: last, created_at: made } = webhook;
  const [colour, word] = stateOf(webhook);
  const [asked, setAsked] = useState("");
  const [run, busy, problem] = useBusy();
  const turn = (what) => run(async () => {
    await change(id, what);
    await onChange();
  });
  const close = () => setAsked("");
  const done = () => (close(), void onChange());
  return html`<article class=${`webhook ${colour}`} aria-label=${line(name || url, 80)}>
    <h2>${line(name || "Unnamed", 80)} <span class=${`badge ${colour}`}><span class="dot" aria-hidden="true"></span>${word}</span>${namespace && namespace !== "default" && html` <span class="tag">${line(namespace, 40)}</span>`}</h2>
    <p class="facts"><code>${line(url, 200)}</code><span>${visible(format)}</span><span>${events ? line(events.map((kind) => kind.replaceAll("_", " ")).join(", "), 200) : "all events"}</span><${Id} id=${id} what="webhook’s id" /></p>
    <p class="facts"><span>${delivered.toLocaleString()} delivered${last ? html`, the last <${Age} at=${last} suffix=" ago" />` : ""}</span><span>up to event ${cursor.toLocaleString()}</span><span>created <${Age} at=${made} suffix=" ago" /></span></p>
    <${Failing} webhook=${webhook} />
    <${Trouble} problem=${problem} />
    <div class="buttons" role="group" aria-label=${`What to do with ${line(name || url, 60)}`}>
      <button type="button" class="small" disabled=${busy} onClick=${() => turn(word === "paused" ? "resume" : "pause")}>${word === "paused" ? "Resume" : "Pause"}</button>
      <button type="button" class="small" onClick=${() => setAsked("replay")}>Send again…</button>
      ${webhook.sign === "symmetric" && format !== "mail" && html`<button type="button" class="small" onClick=${() => setAsked("rotate")}>New secret…</button>`}
      <button type="button" class="small danger" onClick=${() => setAsked("delete")}>Delete…</button></div>
    ${asked === "replay" && html`<${Replay} webhook=${webhook} onDone=${done} onClose=${close} />`}
    ${asked === "rotate" && html`<${Rotate} webhook=${webhook} onDone=${done} onClose=${close} />`}
    ${asked === "delete" && html`<${ActDialog} title="Delete the webhook?" label="Delete it" danger=${true} act=${() => change(id, "delete")} onDone=${done} onClose=${close}>
      <p>Nothing is sent to <b>${line(name || url, 80)}</b> any more, and its place among the events is forgotten. A delivery under way may still arrive.</p><//>`}
  </article>`;
}

const pausedBy = (reason) => (!reason || reason.startsWith("paused by ") ? "Paused by the holder of the root key" : `Paused: ${line(reason, 300)}`);

/** Why it fails or is paused, since when, and when it is tried again. */
function Failing({ webhook: { status, reason, failures, failing_since: since, last_error: error, next_at: next } }) {
  if (status === "active" && !failures) return null;
  return html`<div class=${status === "paused" ? "trouble" : "note"}>
    <p>${status === "paused" ? html`${pausedBy(reason)}.` : html`${failures.toLocaleString()} failure${failures === 1 ? "" : "s"} in a row${since && html`, since <${Moment} at=${since} />`}.`}
      ${status === "active" && next && html` ${Date.parse(next) > now.value ? html`Next try at <${Moment} at=${next} />, <${Left} at=${next} />.` : "It is tried again now."}`}</p>
    ${error && html`<p>Last error: ${line(error, 500)}</p>`}</div>`;
}

function Replay({ webhook: { id, cursor }, onDone, onClose }) {
  const [after, setAfter] = useState(String(Math.max(0, cursor - 1)));
  const act = async () => {
    await change(id, "replay", { body: { after: Number(after) } });
    notify("The events are sent again.", "good");
  };
  return html`<${ActDialog} title="Send events again" label="Send them" act=${act} onDone=${onDone} onClose=${onClose}>
    <label>All after event number<input type="number" required min="0" step="1" inputmode="numeric" value=${after} onInput=${(event) => setAfter(event.target.value)} /></label>
    <p class="hint">It is resumed if it is paused. ${cursor.toLocaleString()} is the last that is delivered: the number before it sends that one again, 0 sends all that are kept. Only kinds of events that the webhook is for are sent.</p><//>`;
}

function Rotate({ webhook: { id, name, url }, onDone, onClose }) {
  const [secret, setSecret] = useState("");
  const once = useRef(crypto.randomUUID());
  if (secret)
    return html`<${Dialog} title="The new secret" onClose=${onDone}><p>It is not shown again. The one before signs as well for a day.</p>
      <p><code class="secret">${secret}</code></p><div class="buttons"><${Copied} text=${secret} /><button type="button" onClick=${onDone}>Close</button></div><//>`;
  const act = async () => setSecret((await change(id, "rotate", { headers: { "Idempotency-Key": once.current } })).secret);
  return html`<${ActDialog} title="Make a new secret?" label="Make a new secret" act=${act} onDone=${() => {}} onClose=${onClose}>
    <p>Deliveries to <b>${line(name || url, 80)}</b> are signed by the new and the old secret for a day, then by the new one alone: give it to the receiver within it.</p><//>`;
}
