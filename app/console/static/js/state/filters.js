// The filters of the list of tasks: status, agent, label, and id prefix.
import { signal } from "../../vendor/preact.js";
import { keep, kept } from "./kept.js";

const NAME = "filters";
const ID_LENGTH = 28;
const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";

export const NONE = { status: "", agent: "", label: "", id: "" };
export const filters = signal({ ...NONE, ...kept(NAME, {}) });

/** Changes some filters. */
export function setFilters(changes) {
  filters.value = { ...filters.value, ...changes };
  keep(NAME, filters.value);
}

/** Normalises a typed id: `T-` and lower case. */
export function idPrefix(text) {
  const typed = text.trim().toLowerCase().replace(/^t-?/, "");
  return typed ? `T-${typed}`.slice(0, ID_LENGTH) : "";
}

/** The query of the first page. */
export function queryOf({ status, agent, label, id }) {
  const prefix = idPrefix(id);
  return {
    status,
    agent: agent.trim(),
    label: label.includes(":") ? label.trim() : "",
    cursor: prefix ? behind(prefix) : "",
  };
}

// Ids sort by time as text and the list's cursor is an id, so that the newest with this beginning follow the
// greatest id with this prefix. An invalid letter ends the search at once.
function behind(prefix) {
  const body = prefix.slice(2);
  if ([...body].some((letter) => !DIGITS.includes(letter)) || body[0] > "7") return null;
  return prefix.padEnd(ID_LENGTH, "z");
}

/** Whether a task has the prefix and the other filters' values. */
export function fits(task, { status, agent, label, id }) {
  const colon = label.indexOf(":");
  return (
    (!status || task.status === status) &&
    (!agent.trim() || task.spec.agent === agent.trim()) &&
    (colon < 1 || task.labels[label.slice(0, colon).trim()] === label.slice(colon + 1).trim()) &&
    task.id.startsWith(idPrefix(id))
  );
}
