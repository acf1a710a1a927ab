// Answers on their way. Nothing leaves for a few seconds, in which each can be undone; then it is kept, also through a
// reload, until the server has accepted or rejected it.
import { computed, signal } from "../../vendor/preact.js";
import { Backoff, rest } from "../net/backoff.js";
import { call } from "../net/api.js";
import { keep, kept } from "./kept.js";
import { keepDraft, keepNote } from "./drafts.js";
import { notify } from "./notices.js";
import { fetchQuestion, noteNow, open } from "./questions.js";
import { questionLine } from "../text/title.js";
import { ask, held, may } from "./session.js";
import { snooze, snoozed } from "./snoozed.js";

const NAME = "sending";
const UNDO_MS = 5_000;
export const PENDING = new Set(["waiting", "sending"]);

/** key → {value, comment?, by, about, state: waiting | sending | refused, since, code?, detail?} */
export const sending = signal(kept(NAME, {}));
/** The open questions without those whose answer is on its way or that were put off. */
export const unanswered = computed(() => open.value.filter((one) => !PENDING.has(sending.value[one.key]?.state) && !snoozed.value.has(one.key)));

const timers = new Map();

function put(key, entry) {
  const { [key]: _, ...others } = sending.value;
  sending.value = entry ? { ...others, [key]: entry } : others;
  keep(NAME, Object.fromEntries(Object.entries(sending.value).filter(([, one]) => PENDING.has(one.state))));
}

/** Takes an answer, which leaves in five seconds unless it is undone. */
export function answer(question, value, comment = "") {
  const { key } = question;
  if (PENDING.has(sending.value[key]?.state)) return;
  snooze(key, 0);
  put(key, { value, ...(comment.trim() ? { comment: comment.trim() } : {}), by: held.value?.name, about: questionLine(question, 80), state: "waiting", since: Date.now() });
  schedule(key, UNDO_MS);
}

function schedule(key, ms) {
  timers.set(key, setTimeout(() => void send(key), ms));
}

/** Takes back an answer that has not left. Returns whether that was still possible. */
export function undo(key) {
  if (sending.value[key]?.state !== "waiting") return false;
  clearTimeout(timers.get(key));
  put(key, null);
  return true;
}

const bodyOf = ({ value, comment }) => ({ value, comment });
const pathOf = (key) => `/v1/senior/questions/${encodeURIComponent(key)}/answer`;

/** Sends an answer, with retries until the server has decided. */
async function send(key) {
  const entry = { ...sending.value[key], state: "sending", since: Date.now() };
  clearTimeout(timers.get(key));
  put(key, entry);
  const backoff = new Backoff();
  for (;;) {
    if (!may("senior")) return undefined;
    try {
      noteNow(await ask("senior", "POST", pathOf(key), { body: bodyOf(entry) }));
      keepDraft(key, null);
      keepNote(key, "");
      return put(key, null);
    } catch (problem) {
      if (problem.status === 401) return undefined;
      if (!problem.passes) return refused(key, entry, problem);
      await rest(backoff.pause((problem.retryAfter ?? 0) * 1000));
    }
  }
}

/** Marks an answer as rejected. The draft is kept, and the state of the question is shown next to it. */
async function refused(key, entry, problem) {
  put(key, { ...entry, state: "refused", code: problem.code, detail: problem.message });
  if (problem.status === 409) notify("This question was answered or closed meanwhile. Your draft is kept.", "bad");
  await fetchQuestion(key).catch(() => {});
}

/** Discards a rejected answer, so that another one can be written. */
export const forgetRefusal = (key) => put(key, null);

/** After a reload or a new sign-in: goes on with the pending answers of whoever is signed in. */
export function resumeSending() {
  if (!may("senior")) return;
  for (const [key, entry] of Object.entries(sending.value)) {
    if (entry.by !== held.value.name) notify(`An answer of ${entry.by} was not sent.`, "bad"), put(key, null);
    else if (entry.state === "waiting") schedule(key, Math.max(0, entry.since + UNDO_MS - Date.now()));
    else if (entry.state === "sending") void send(key);
  }
}

/** Sends what waits, for a few seconds at most: nobody will be here to undo it. */
export async function sendWaiting() {
  const waiting = Object.entries(sending.value).filter(([, entry]) => entry.state === "waiting");
  await Promise.race([Promise.allSettled(waiting.map(([key]) => send(key))), rest(UNDO_MS)]);
}

// The page may be gone before a reply: a request that is kept alive outlives it. After a reload a repeat does no harm.
addEventListener("pagehide", () => {
  const credential = held.value?.tokens.senior;
  for (const [key, entry] of Object.entries(sending.value))
    if (credential && entry.state === "waiting") call(credential, "POST", pathOf(key), { body: bodyOf(entry), keepalive: true }).catch(() => {});
});
