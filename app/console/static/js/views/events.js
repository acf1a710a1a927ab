// The live feed, filtered by kind and text, with a pause button.
import { html, useMemo, useState } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { Listing } from "../parts/listing.js";
import { useKeys } from "../state/keys.js";
import { MOST, counted, heldBack, paused, recent, togglePause } from "../state/recent.js";
import { detailOf, EventRow } from "./event-rows.js";

const GROUPS = {
  tasks: ["task_created", "task_pass", "task_blocked", "task_cancelled", "task_suspended", "task_resumed", "task_retry_scheduled"],
  attempts: ["task_attempt_started", "task_attempt_completed", "worker_claimed", "lease_lost", "attempt_timed_out", "attempt_held_long"],
  questions: ["senior_queried", "senior_answered", "question_reminded", "question_escalated", "question_expired", "question_withdrawn", "approval_consumed", "approval_outcome"],
  outputs: ["worker_output", "result_posted", "late_result", "late_result_adopted"],
  sessions: ["session_attached", "session_detached", "token_revoked"],
};
const GROUPED = new Map(Object.entries(GROUPS).flatMap(([group, kinds]) => kinds.map((kind) => [kind, group])));
const WIDE = matchMedia("(min-width: 48rem)");

function matching(events, hidden, text) {
  const wanted = text.trim().toLowerCase();
  return events.filter((event) => !hidden.has(GROUPED.get(event.kind) ?? "other") && (!wanted || `${event.kind.replaceAll("_", " ")} ${event.kind} ${event.task_id ?? ""} ${event.session_id ?? ""} ${event.key ?? ""} ${detailOf(event)}`.toLowerCase().includes(wanted))).reverse();
}

export function EventsPage() {
  const [hidden, setHidden] = useState(new Set());
  const [text, setText] = useState("");
  const [at, setAt] = useState(-1);
  const shown = useMemo(() => matching(recent.value, hidden, text), [recent.value, hidden, text]);
  const toggle = (group) => {
    const next = new Set(hidden);
    if (!next.delete(group)) next.add(group);
    setHidden(next);
  };
  useKeys({
    p: togglePause,
    j: () => setAt(Math.min(at + 1, shown.length - 1)),
    k: () => setAt(Math.max(at - 1, 0)),
    "/": () => document.getElementById("event-text").focus(),
    Escape: (event) => (event.target.id === "event-text" ? event.target.blur() : false),
  });
  return html`
    <div class="bar"><h1>Events</h1><span class="hint" role="status">${paused.value ? "Held still" : "Live"}</span>
      <button type="button" class="small end" aria-pressed=${paused.value} onClick=${togglePause}><${Icon} name=${paused.value ? "play" : "pause"} />${paused.value ? `Go on (${heldBack() && counted.value ? heldBack() : 0} held)` : "Pause"}</button></div>
    <div class="filters" role="search" aria-label="Events">
      <label><span class="unseen">Text, task or kind</span><input id="event-text" type="search" placeholder="Text, task id or kind" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
      <div class="chips" role="group" aria-label="Kinds">${[...Object.keys(GROUPS), "other"].map((group) => html`<button key=${group} type="button" class="small" aria-pressed=${!hidden.has(group)} onClick=${() => toggle(group)}>${group}</button>`)}</div>
    </div>
    <${Listing} items=${shown} rowHeight=${WIDE.matches ? 28 : 48} keyOf=${(event) => event.cursor} label="Events" selected=${at}
      row=${(event) => html`<${EventRow} event=${event} whole=${true} />`}
      empty=${html`<p class="empty">${counted.value ? "Nothing fits." : `Nothing has happened since this console was opened. The latest ${MOST.toLocaleString()} events are kept here.`}</p>`} />
  `;
}
