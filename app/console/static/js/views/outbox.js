// Answers on their way: one can be taken back for a few seconds, and one that the server refused is shown.
import { html } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { forgetRefusal, sending, undo } from "../state/answers.js";
import { now } from "../state/clock.js";
import { useKeys } from "../state/keys.js";
import { addressOf, go } from "../state/route.js";
import { answerOf } from "../text/literal.js";
import { line, visible } from "../text/visible.js";

const LONG_MS = 1_500;

export function Outbox() {
  const entries = Object.entries(sending.value);
  const takeBack = (key) => undo(key) && go("inbox", key);
  useKeys({ u: () => takeBack(entries.findLast(([, entry]) => entry.state === "waiting")?.[0] ?? "") });
  return html`<div class="outbox" role="log" aria-live="polite" aria-label="Answers on their way">
    ${entries.map(([key, entry]) => html`<${Entry} key=${key} id=${key} entry=${entry} onUndo=${() => takeBack(key)} />`)}
  </div>`;
}

function Entry({ id, entry, onUndo }) {
  const what = line(answerOf(entry.value), 200);
  if (entry.state === "waiting")
    return html`<p class="notice good"><span>Sent: <b class="word">${what}</b> <span class="hint">${visible(entry.about)}</span></span><button type="button" class="small" onClick=${onUndo} aria-keyshortcuts="u">Undo</button></p>`;
  if (entry.state === "sending")
    return now.value - entry.since < LONG_MS ? null : html`<p class="notice"><span>Sending… <b class="word">${what}</b> It is kept and sent again until the server has it.</span></p>`;
  return html`<p class="notice bad"><span>Not accepted: ${line(entry.detail, 200)} <a href=${addressOf("inbox", id)}>Open the question</a></span>
    <button class="quiet" type="button" aria-label="Dismiss" onClick=${() => forgetRefusal(id)}><${Icon} name="close" /></button></p>`;
}
