// Rates per slot of time, from the feed and the server's counts, while the console is open.
import { signal } from "../../vendor/preact.js";
import { keep, kept } from "./kept.js";
import { onEvents } from "./live.js";
import { ask, reader } from "./session.js";

export const SLOT_MS = 10_000;
const MOST = 360;
const COUNTED = { task_created: "created", task_pass: "pass", task_blocked: "blocked", task_attempt_started: "started" };
const NAME = "rates";
const COUNTED_TO = "rates.cursor";

/** [{at, created, started, pass, blocked, open, oldest, suspended, running, pending, queued}], oldest first. */
export const slots = signal(kept(NAME, []).filter((slot) => slot.at > Date.now() - MOST * SLOT_MS));
/** The server's latest counts. */
export const stats = signal(null);
/** The nodes that share the database. */
export const nodes = signal([]);

let changed = false;
let countedTo = kept(COUNTED_TO, 0);

function slotOf(at) {
  const start = Math.floor(at / SLOT_MS) * SLOT_MS;
  let slot = slots.value.findLast((one) => one.at === start);
  if (!slot) {
    slot = { at: start, created: 0, started: 0, pass: 0, blocked: 0 };
    slots.value = [...slots.value, slot].sort((one, other) => one.at - other.at).slice(-MOST);
  }
  changed = true;
  return slot;
}

onEvents((events) => {
  const earliest = Date.now() - MOST * SLOT_MS;
  for (const event of events) {
    if (event.cursor <= countedTo) continue;
    countedTo = event.cursor;
    const name = COUNTED[event.kind];
    const at = Date.parse(event.at);
    if (name && at > earliest) slotOf(at)[name] += 1;
  }
});

/** Read the server's counts now. */
export async function refreshStats() {
  const found = await ask("any", "GET", "/v1/operator/stats");
  stats.value = found;
  nodes.value = (await ask("any", "GET", "/v1/operator/nodes")).items;
  const oldest = found.oldest_open_question_at;
  Object.assign(slotOf(Date.now()), {
    open: found.questions?.open ?? 0,
    oldest: oldest ? (Date.now() - Date.parse(oldest)) / 1000 : 0,
    suspended: found.tasks.suspended ?? 0,
    running: found.tasks.running ?? 0,
    pending: found.tasks.pending ?? 0,
    queued: Object.values(found.queues ?? {}).reduce((sum, count) => sum + count, 0),
  });
}

setInterval(() => {
  if (reader.value && !document.hidden) refreshStats().catch(() => {});
}, SLOT_MS / 2);

setInterval(() => {
  if (!changed) return;
  changed = false;
  slots.value = [...slots.value];
  keep(NAME, slots.value);
  keep(COUNTED_TO, countedTo);
}, 1000);
