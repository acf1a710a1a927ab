// The questions known to this console: all open ones, and those of the others that it has seen.
import { batch, computed, signal } from "../../vendor/preact.js";
import { byUrgency } from "../text/order.js";
import { draftedKeys } from "./drafts.js";
import { onEvents, onFrame } from "./live.js";
import { lookAgain } from "./presence.js";
import { ask, held, may } from "./session.js";
import { stringify } from "../text/json.js";

const PAGE = 100;
const LARGE = 8_000;
const MOST_SETTLED = 200;
const GATHER_MS = 300;
const MOVING = new Set(["question_escalated", "question_claimed", "question_released"]);
const SETTLING = new Set(["senior_answered", "question_withdrawn", "question_expired"]);

const known = signal(new Map());
/** loading | ready, and how many there are on the server according to its last welcome. */
export const loaded = signal(false);

/** Open questions, most urgent first. */
export const open = computed(() => [...known.value.values()].filter((one) => one.status === "open").sort(byUrgency));

/** Returns the question, or null when it is not known here. */
export const questionOf = (key) => known.value.get(key) ?? null;

let pending = new Map();
let timer = 0;

/** Stores the new state of a question; a settled one never becomes open again. */
function note(question) {
  const before = pending.get(question.key) ?? known.value.get(question.key);
  if (before && before.status !== "open" && (question.status ?? "open") === "open") return;
  pending.set(question.key, { status: "open", ...before, ...slim(preferring(before, question)), seenAt: Date.now() });
  timer ||= setTimeout(flush, 30);
}

function flush() {
  clearTimeout(timer);
  timer = 0;
  const next = new Map(known.value);
  for (const [key, question] of pending) next.set(key, question);
  pending = new Map();
  const done = [...next.values()].filter((one) => one.status !== "open").sort((a, b) => b.seenAt - a.seenAt);
  for (const old of done.slice(MOST_SETTLED)) next.delete(old.key);
  known.value = next;
}

/** Drops the previews of a list where more is known already. */
function preferring(before, question) {
  const known = question.cut?.filter((name) => before?.[name] !== undefined && !before.cut?.includes(name)) ?? [];
  const shown = Object.fromEntries(Object.entries(question).filter(([name]) => !known.includes(name)));
  return { ...shown, cut: question.cut?.filter((name) => !known.includes(name)) };
}

/** Drops a large body, which is fetched again when the question is opened. */
function slim(question) {
  const text = typeof question.question === "string" ? question.question : stringify(question.question);
  if (question.question === undefined || text.length <= LARGE) return question;
  return { ...question, question: text.slice(0, LARGE), partial: true };
}

/** Everything about one question, fetched now. Throws Problem. */
export async function fetchQuestion(key) {
  const question = await ask(may("senior") ? "senior" : "any", "GET", may("senior") ? `/v1/senior/questions/${key}` : `/v1/operator/questions/${key}?hold=0`);
  note(whole(question));
  return question;
}

/** A question that the server has told whole: without a claim, nobody is on it. */
const whole = (question) => ({ claim: null, ...question });

/** The questions of one task, oldest first. Throws Problem. */
export async function questionsOfTask(taskId) {
  const page = await ask("senior", "GET", "/v1/senior/questions", { query: { task_id: taskId, limit: PAGE } });
  return page.items;
}

/** Stores the server's reply to a change, at once. */
export function noteNow(question) {
  note(whole(question));
  flush();
}

let syncing = null;

/** Reads all open questions, and those known as open here that are no longer among them. */
export function sync() {
  syncing ??= readAll().finally(() => {
    syncing = null;
  });
  return syncing;
}

async function readAll() {
  if (!may("senior")) return;
  const before = new Set(open.value.map((one) => one.key));
  let cursor = null;
  do {
    const page = await ask("senior", "GET", "/v1/senior/questions", { query: { status: "open", limit: PAGE, cursor } });
    for (const question of page.items) {
      before.delete(question.key);
      note(whole(question));
    }
    cursor = page.next_cursor;
  } while (cursor);
  flush();
  loaded.value = true;
  for (const key of before) gather(key);
  for (const key of draftedKeys()) if (!known.value.has(key)) gather(key);
}

const gathered = new Set();
let gatherTimer = 0;

/** Schedules reading a question; many at once are read as one list. */
function gather(key) {
  gathered.add(key);
  gatherTimer ||= setTimeout(async () => {
    gatherTimer = 0;
    const keys = [...gathered];
    gathered.clear();
    if (keys.filter((one) => !known.value.has(one)).length > 20) await sync().catch(() => {});
    else await Promise.allSettled(keys.map(fetchQuestion));
  }, GATHER_MS);
}

onFrame("welcome", () => {
  sync().catch(() => {});
  lookAgain();
});
onFrame("ask", ({ type: _, ...question }) => note({ ...question, status: "open" }));
onFrame("withdrawn", ({ key }) => gather(key));
onEvents((events) => {
  if (!may("senior") || !loaded.value) return;
  for (const event of events) {
    if (event.kind === "senior_queried" && !known.value.has(event.key)) gather(event.key);
    if (SETTLING.has(event.kind) && known.value.get(event.key)?.status === "open") gather(event.key);
    if (MOVING.has(event.kind)) gather(event.key);
  }
});

/** Clears everything, since somebody else may sign in. */
export function forgetQuestions() {
  batch(() => {
    known.value = new Map();
    loaded.value = false;
  });
}

let lastHolder = held.value?.name;
held.subscribe((session) => {
  if (session && session.name !== lastHolder) forgetQuestions();
  if (session) lastHolder = session.name;
});
