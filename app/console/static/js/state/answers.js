// Answers being sent. Each is kept, also through a reload, until the server has accepted or rejected it.
import { signal } from "../../vendor/preact.js";
import { Backoff, rest } from "../net/backoff.js";
import { keep, kept } from "./kept.js";
import { keepDraft } from "./drafts.js";
import { notify } from "./notices.js";
import { fetchQuestion, noteAnswered } from "./questions.js";
import { ask, may } from "./session.js";

const NAME = "sending";

/** key → {value, state: sending | refused, code?, detail?} */
export const sending = signal(kept(NAME, {}));

function put(key, entry) {
  const { [key]: _, ...others } = sending.value;
  sending.value = entry ? { ...others, [key]: entry } : others;
  keep(NAME, Object.fromEntries(Object.entries(sending.value).filter(([, one]) => one.state === "sending")));
}

/** Sends an answer, with retries until the server has decided. Resolves to whether it was accepted. */
export async function answer(key, value) {
  put(key, { value, state: "sending" });
  const backoff = new Backoff();
  for (;;) {
    try {
      const question = await ask("senior", "POST", `/v1/senior/questions/${encodeURIComponent(key)}/answer`, { body: { value } });
      noteAnswered(question);
      keepDraft(key, null);
      put(key, null);
      return true;
    } catch (problem) {
      if (problem.status === 401) return false;
      if (!problem.passes) return refused(key, value, problem);
      await rest(backoff.pause((problem.retryAfter ?? 0) * 1000));
    }
  }
}

/** Marks an answer as rejected. The draft is kept, and the state of the question is shown next to it. */
async function refused(key, value, problem) {
  put(key, { value, state: "refused", code: problem.code, detail: problem.message });
  if (problem.status === 409) notify("This question was answered or closed meanwhile. Your draft is kept.", "bad");
  await fetchQuestion(key).catch(() => {});
  return false;
}

/** Discards a rejected answer, so that another one can be written. */
export const forgetRefusal = (key) => put(key, null);

/** After a reload or a new sign-in: resumes sending the pending answers. */
export function resumeSending() {
  if (!may("senior")) return;
  for (const [key, entry] of Object.entries(sending.value)) if (entry.state === "sending") answer(key, entry.value);
}
