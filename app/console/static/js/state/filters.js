// The filter of the list of tasks, which is its address: a search, a status, an agent, labels, a range of time, an order.
import { computed, effect, signal } from "../../vendor/preact.js";
import { addressOf, go, route } from "./route.js";

const HOUR_MS = 3_600_000;
/** Ranges of time that end now, by name. */
export const RANGES = { "15m": ["the last 15 minutes", HOUR_MS / 4], "1h": ["the last hour", HOUR_MS], "24h": ["the last 24 hours", 24 * HOUR_MS], "7d": ["the last 7 days", 168 * HOUR_MS] };
export const NONE = { q: "", status: "", agent: "", labels: [], range: "", from: "", until: "", sort: "", parent: "", session: "" };
const NAMED = ["q", "status", "agent", "range", "from", "until", "sort", "parent", "session"];

const latest = signal("");
effect(() => {
  if (route.value.page === "tasks") latest.value = route.value.query;
});

/** Where the list of tasks is: with its filter when one comes back to it. */
export const listAddress = computed(() => addressOf("tasks", "", latest.value));

export const filters = computed(() => read(latest.value));

function read(query) {
  const given = new URLSearchParams(query);
  const found = { ...NONE, labels: given.getAll("label").filter((label) => label.indexOf(":") > 0) };
  for (const name of NAMED) found[name] = given.get(name) ?? "";
  return found;
}

/** The address's query of a filter. */
export function spelled(filter) {
  const given = new URLSearchParams();
  for (const name of NAMED) if (filter[name]) given.set(name, filter[name]);
  for (const label of filter.labels ?? []) given.append("label", label);
  return String(given);
}

/** Changes parts of the filter. */
export const setFilters = (changes) => go("tasks", "", { quietly: true, query: spelled({ ...filters.value, ...changes }) });

/** Adds `key:value` to the labels. */
export function addLabel(label) {
  if (label.indexOf(":") > 0 && !filters.value.labels.includes(label)) setFilters({ labels: [...filters.value.labels, label] });
}

/** Whether anything but the order is set. */
export const isNarrowed = computed(() => spelled({ ...filters.value, sort: "" }) !== "");

/** The filter as the API's query has it, but for status and order. */
export function selectionOf({ q, agent, labels, range, from, until, parent, session }) {
  const since = RANGES[range] ? new Date(Date.now() - RANGES[range][1]).toISOString() : instant(from);
  return { q: q.trim(), agent, label: labels, parent, session, created_from: since, created_until: range ? "" : instant(until) };
}

/** The query of the first page. */
export const queryOf = (filter) => ({ ...selectionOf(filter), status: filter.status, sort: filter.sort });

/** The body of a change of all tasks that fit. */
export function bodyOf(filter) {
  const { label, ...given } = selectionOf(filter);
  const labels = Object.fromEntries(label.map((one) => [one.slice(0, one.indexOf(":")), one.slice(one.indexOf(":") + 1)]));
  const set = Object.entries({ ...given, status: filter.status }).filter(([, value]) => value);
  return { ...Object.fromEntries(set), ...(label.length ? { labels } : {}) };
}

function instant(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? "" : new Date(at).toISOString();
}

/** Whether a task that changed still fits, as far as it can be told here: what a search finds, the server knows. */
export function fits(task, { status, agent, labels }) {
  return (
    (!status || task.status === status) &&
    (!agent || task.spec.agent === agent) &&
    labels.every((label) => task.labels[label.slice(0, label.indexOf(":"))] === label.slice(label.indexOf(":") + 1))
  );
}
