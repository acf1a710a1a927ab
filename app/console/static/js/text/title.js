// What a question is called in a list, and a value in one line: made from its own words, never from its JSON where that can be avoided.
import { stringify } from "./json.js";
import { line } from "./visible.js";

const NAMES = ["title", "question", "text", "message", "prompt", "summary"];
const MARKS = /^\s*(?:#{1,6}\s+|>\s*|[-*+]\s+|\d+[.)]\s+)+|\*\*|__|`+|~~|^\s*(?:-{3,}|={3,}|\|?[-:| ]+\|)\s*$/gmu;
const LINK = /!?\[([^\]\n]*)\]\(([^()\s]*)\)/g;
const MOST_MEMBERS = 4;
const LONGEST = 4_000;

/** One line for a question: its title, else what it asks. A list shows no long one that is not text. */
export function questionLine({ title, question, cut }, limit) {
  if (title) return line(title, limit);
  return question === null && cut?.includes("question") ? "A long question" : lineOf(question, limit);
}

/** One line for a JSON value: the words of a text, the most telling member of an object, else its members. */
export function lineOf(value, limit) {
  if (typeof value === "string") return line(wordsOf(value.slice(0, LONGEST)), limit);
  if (Array.isArray(value)) return value.length && value.every(isPlain) ? line(value.map(String).join(", "), limit) : `${value.length} ${value.length === 1 ? "item" : "items"}`;
  if (!value || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return line(stringify(value), limit);
  const called = callOf(value);
  if (called) return line(called, limit);
  const named = NAMES.find((name) => typeof value[name] === "string" && value[name].trim());
  if (named) return line(wordsOf(value[named].slice(0, LONGEST)), limit);
  return line(membersOf(value).join(" · "), limit) || "An empty object";
}

/** A call of a tool in one line: its name and what it is called with. */
function callOf({ tool, name, arguments: given }) {
  const called = [tool, name].find((one) => typeof one === "string" && one);
  if (!called || !given || typeof given !== "object") return "";
  const first = Object.values(given).find((one) => typeof one === "string") ?? "";
  return first ? `${called}: ${first.slice(0, 400)}` : called;
}

const isPlain = (value) => value === null || typeof value !== "object";

function membersOf(value, path = "") {
  return Object.entries(value).slice(0, MOST_MEMBERS).flatMap(([name, member]) => {
    const own = path ? `${path}.${name}` : name;
    if (isPlain(member)) return [`${own}: ${typeof member === "string" ? member.slice(0, 200) : String(member)}`];
    return path || Array.isArray(member) ? [`${own}: …`] : membersOf(member, own);
  });
}

/** What a text is called: its first line that says something. */
export const titleOf = (text, limit) => line(wordsOf((text.split("\n").find((one) => one.trim()) ?? "").slice(0, LONGEST)).trim(), limit);

/** A text without the marks of Markdown. */
function wordsOf(text) {
  return text.replace(LINK, "$1").replace(MARKS, "");
}
