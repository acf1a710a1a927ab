// Beside a question: who is on it, handing it over, putting it off, taking it back.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { Moment } from "../parts/age.js";
import { useBusy } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { claim, claimOf, handOver, isOwn, release } from "../state/claims.js";
import { useKeys } from "../state/keys.js";
import { notify } from "../state/notices.js";
import { look, others } from "../state/presence.js";
import { ask, may } from "../state/session.js";
import { backAt, snooze, untilTomorrow } from "../state/snoozed.js";
import { moment } from "../text/times.js";
import { line } from "../text/visible.js";
import { WithdrawDialog } from "./withdraw.js";

const MINUTE_MS = 60_000;
const PAUSES = [
  ["15 minutes", () => 15 * MINUTE_MS],
  ["an hour", () => 60 * MINUTE_MS],
  ["four hours", () => 240 * MINUTE_MS],
  ["tomorrow, 9:00", untilTomorrow],
];

/** `onLeft(key)` is called when the question has left this person's list. */
export function Handling({ question, onLeft }) {
  const [to, setTo] = useState(null);
  const [withdrawing, setWithdrawing] = useState(false);
  const [run, busy, problem] = useBusy();
  const found = claimOf(question);
  const turn = () => run(() => (found && isOwn(found) ? release(question.key) : claim(question.key)));
  const { escalate_to: next, bridge_id: now } = question;
  useEffect(() => {
    look(question.key);
    return () => look(null);
  }, [question.key]);
  useKeys({ c: turn, e: () => setTo(next ?? "") });
  return html`<div class="handling" role="group" aria-label="Handling">
    <${Claim} found=${found} />
    <button type="button" class="small" disabled=${busy} onClick=${turn}>${!found ? "I’m on this" : isOwn(found) ? "Let go" : "Take over"}</button>
    ${next && next !== now && html`<button type="button" class="small" onClick=${() => setTo(next)}>Escalate to ${line(next, 30)}…</button>`}
    <button type="button" class="small" onClick=${() => setTo("")}>Hand over…</button>
    <${Snooze} id=${question.key} onLeft=${onLeft} />
    ${may("operator") && html`<button type="button" class="small" onClick=${() => setWithdrawing(true)}>Withdraw…</button>`}
    <${Others} id=${question.key} />
    <${Trouble} problem=${problem} />
    ${to !== null && html`<${HandOver} question=${question} proposed=${to} onClose=${() => setTo(null)} />`}
    ${withdrawing && html`<${WithdrawDialog} question=${question} onDone=${() => setWithdrawing(false)} onClose=${() => setWithdrawing(false)} />`}
  </div>`;
}

/** Always in the document, so that screen readers announce who comes and goes. */
function Claim({ found }) {
  return html`<span class="claim" role="status">${found && (isOwn(found) ? html`You are on this until <${Moment} at=${found.until} />` : html`<b>${line(found.by, 40)}</b> is on this until <${Moment} at=${found.until} />`)}</span>`;
}

/** Who else has the question open now. */
function Others({ id }) {
  const { key, names } = others.value;
  const here = key === id ? names.map((name) => line(name, 30)) : [];
  const shown = here.length > 3 ? [...here.slice(0, 2), `${here.length - 2} more`] : here;
  return html`<span class="others" role="status">${shown.length > 0 && `${shown.join(", ")} ${here.length === 1 ? "looks" : "look"} at this, too`}</span>`;
}

function Snooze({ id, onLeft }) {
  const back = backAt(id);
  if (back) return html`<button type="button" class="small" onClick=${() => snooze(id, 0)}>Put off until ${moment(back)}: take it back</button>`;
  const choose = (event) => {
    const [words, ms] = PAUSES[event.target.value];
    event.target.value = "";
    snooze(id, ms());
    notify(`Put off for you alone: ${words}.`);
    onLeft(id);
  };
  return html`<select class="small" aria-label="Put it off, for you alone" value="" onChange=${choose}><option value="">Snooze…</option>${PAUSES.map(([words], index) => html`<option key=${index} value=${index}>${words}</option>`)}</select>`;
}

function HandOver({ question: { key, bridge_id: now }, proposed, onClose }) {
  const [to, setTo] = useState(proposed);
  const [known, setKnown] = useState([]);
  useEffect(() => {
    if (may("operator") || may("observer")) ask("any", "GET", "/v1/operator/registry").then(({ senior_bridges: found }) => setKnown(found), () => {});
  }, []);
  const act = async () => {
    await handOver(key, to.trim());
    notify(`Handed over to ${line(to.trim(), 60)}.`, "good");
  };
  return html`<${ActDialog} title="Hand the question over" label="Hand it over" act=${act} onDone=${onClose} onClose=${onClose}>
    <label>To which inbox<input required maxlength="200" list="inboxes" autocomplete="off" value=${to} onInput=${(event) => setTo(event.target.value)} /></label>
    <datalist id="inboxes">${known.map((one) => html`<option key=${one} value=${one}></option>`)}</datalist>
    ${known.length > 0 && html`<p class="hint">Connected now: ${known.slice(0, 8).map((one) => html`<button type="button" class="link" key=${one} onClick=${() => setTo(one)}>${line(one, 40)}</button> `)}</p>`}
    <p class="hint">It goes there at once${now ? html`, instead of to <b>${line(now, 40)}</b>` : ""}. Its deadline stays, and the audit log says who handed it over.</p>
  <//>`;
}
