// JSON as it is sent, with escapes for everything that a reader could not see or could mistake: it stays the same JSON.
import { stringify } from "./json.js";
import { UNSEEN } from "./visible.js";

// Spaces other than U+0020, and letters that are drawn like ASCII ones.
const LOOKALIKE = /[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\uff01-\uff5e\u{1d400}-\u{1d7ff}]/gu;
const WORD = /[\p{L}\p{M}\p{N}_]+/gu;
const LATIN = /\p{Script=Latin}/u;
const RELATED = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Lisu}]/gu;

const escape = (character) =>
  Array.from({ length: character.length }, (_, place) => `\\u${character.charCodeAt(place).toString(16).padStart(4, "0")}`).join("");

/** Escapes what cannot be seen, and in words of Latin letters those of other alphabets. Line feeds are left. */
function escaped(text) {
  const seen = text.replace(UNSEEN, escape).replace(LOOKALIKE, escape);
  return seen.replace(WORD, (word) => (LATIN.test(word) ? word.replace(RELATED, escape) : word));
}

const STRING = /"(?:[^"\\]|\\.)*"/g;
const SPACES = / {2,}/g;
/** Rows of spaces look like one where lines are folded. */
const counted = (text) => text.replace(STRING, (string) => string.replace(SPACES, (row) => ` ${"\\u0020".repeat(row.length - 1)}`));

/** Returns a value as JSON, with `indent` spaces a level. */
export const literal = (value, indent = 0) => escaped(counted(stringify(value, indent)));

/** Whether a text is what it looks like, and nothing else looks like it: no quotation marks are needed. */
export function isPlain(text) {
  if (!text || text !== text.trim() || text.includes("\t") || escaped(text) !== text) return false;
  try {
    JSON.parse(text);
    return false;
  } catch {
    return !/^["[{]/.test(text);
  }
}

const WORDS = new Map([[true, "Yes"], [false, "No"]]);

/** Returns what stands for a value on a button or in a list: {text, code}, one of them or both. */
export function wordOf(value) {
  if (typeof value === "string" && isPlain(value)) return { text: value };
  return { text: WORDS.get(value), code: literal(value) };
}

/** Returns the same in one line of text, where no markup can stand. */
export function wordsOf(value) {
  const { text, code } = typeof value === "string" && /\n| {2}/.test(value) ? { code: literal(value) } : wordOf(value);
  return text && code ? `${text} (${code})` : (text ?? code);
}

const DECISIONS = { approve: "Approve", edit: "Approve with changes", reject: "Reject", respond: "Respond" };
const DECIDED = new Set(["decision", "edited_action", "message"]);

/** Returns a decision about an action in words, and nothing for another value. */
export function decisionOf(value) {
  if (!value || typeof value !== "object" || !Object.hasOwn(DECISIONS, value.decision) || !Object.keys(value).every((name) => DECIDED.has(name))) return "";
  return DECISIONS[value.decision] + (typeof value.message === "string" ? `: ${escaped(value.message).replace(/\s+/g, " ")}` : "");
}

/** Returns an answer that was given in one line. */
export const answerOf = (value) => decisionOf(value) || wordsOf(value);
