// The list of tasks: read page by page, updated by the feed, with the children of expanded tasks.
import { signal } from "../../vendor/preact.js";
import { filters, fits, queryOf, selectionOf } from "./filters.js";
import { onEvents } from "./live.js";
import { ask } from "./session.js";

const PAGE = 100;
const REFRESH_MS = 1_500;
const SEARCH_MS = 4_000;
const STATUS = {
  task_attempt_started: "running",
  task_pass: "pass",
  task_blocked: "blocked",
  task_suspended: "suspended",
  task_resumed: "running",
  task_cancelled: "cancelled",
};

const SETTLED = new Set(["pass", "blocked", "cancelled"]);

/** {tasks, cursor, loading, error, fresh}: `cursor` null at the end; `fresh` counts new ones not shown yet. */
export const list = signal({ tasks: [], cursor: null, loading: true, error: null, fresh: 0 });
/** id → children, for every expanded task. */
export const children = signal(new Map());
/** Whether the list is scrolled to its top: only then are new tasks inserted. */
export const atTop = signal(true);

/** How many tasks fit the filter, by status, whatever status it has; null before the first answer. */
export const counts = signal(null);

let reading = null;
let refreshTimer = 0;
let watched = 0;

/** Keeps the list up to date; returns a function that stops it. */
export function watchTasks() {
  watched += 1;
  // What a search finds follows the tasks by some seconds.
  const timer = setInterval(() => filters.value.q && !document.hidden && void refresh(), SEARCH_MS);
  return () => {
    clearInterval(timer);
    watched -= 1;
  };
}

/** Reads the first page again. */
export async function reload() {
  reading?.abort();
  const own = (reading = new AbortController());
  list.value = { ...list.value, loading: true, error: null };
  void count(own.signal);
  try {
    const page = await readPage(queryOf(filters.value), own.signal);
    list.value = { tasks: page.items, cursor: page.next_cursor, loading: false, error: null, fresh: 0 };
  } catch (error) {
    if (!own.signal.aborted) list.value = { ...list.value, loading: false, error };
  }
}

/** Read the next page, if there is one. */
export async function readOn() {
  const { cursor, loading } = list.value;
  if (!cursor || loading) return;
  const own = reading;
  list.value = { ...list.value, loading: true };
  try {
    const page = await readPage({ ...queryOf(filters.value), cursor }, own?.signal);
    list.value = { ...list.value, tasks: [...list.value.tasks, ...page.items], cursor: page.next_cursor, loading: false };
  } catch (error) {
    if (!own?.signal.aborted) list.value = { ...list.value, loading: false, error };
  }
}

async function count(signal) {
  try {
    counts.value = (await ask("any", "GET", "/v1/operator/task-counts", { query: selectionOf(filters.value), signal })).counts;
  } catch {
    // The list says what is wrong.
  }
}

async function readPage(query, signal) {
  const page = await ask("any", "GET", "/v1/operator/tasks", { query: { ...query, limit: PAGE }, signal });
  return { items: page.items.map(slim), next_cursor: page.next_cursor };
}

/** Keeps the fields that a row shows; the others may be large. */
const slim = (task) => ({
  ...task,
  last_result: undefined,
  spec: { ...task.spec, initial_directive: task.spec.initial_directive.slice(0, 400) },
});

/** Open or close the children of a task. */
export async function toggleChildren(id) {
  const next = new Map(children.value);
  if (!next.delete(id)) next.set(id, (await childrenOf(id)).items);
  children.value = next;
}

/** The first children of a task. Throws Problem. */
export async function childrenOf(id) {
  const page = await ask("any", "GET", "/v1/operator/tasks", { query: { parent: id, limit: PAGE } });
  return { items: page.items.map(slim).reverse(), more: Boolean(page.next_cursor) };
}

onEvents((events) => {
  if (!watched) return;
  const latest = new Map();
  let created = 0;
  for (const event of events) {
    if (event.kind === "task_created") created += 1;
    if (STATUS[event.kind]) latest.set(event.task_id, event);
  }
  if (latest.size) apply(latest);
  if (created) list.value = { ...list.value, fresh: list.value.fresh + created };
  if (created || latest.size) refreshTimer ||= setTimeout(refresh, REFRESH_MS);
});

/** Applies the changes that events contain, without a request. */
function apply(latest) {
  const changed = (task) => {
    const event = latest.get(task.id);
    if (!event || event.at < task.updated_at) return task;
    const status = STATUS[event.kind];
    const settled_at = SETTLED.has(status) ? event.at : undefined;
    const started_at = task.started_at ?? (event.kind === "task_attempt_started" ? event.at : undefined);
    return { ...task, status, attempt: event.attempt ?? task.attempt, updated_at: event.at, settled_at, started_at };
  };
  list.value = { ...list.value, tasks: list.value.tasks.map(changed) };
  children.value = new Map([...children.value].map(([id, tasks]) => [id, tasks.map(changed)]));
}

/** Updates the listed tasks; new ones are inserted when the list is scrolled to its top. */
function update(items) {
  const found = new Map(items.map((task) => [task.id, task]));
  list.value = { ...list.value, tasks: list.value.tasks.map((task) => found.get(task.id) ?? task) };
}

/** Reads the newest page and merges it into the list. */
async function refresh() {
  refreshTimer = 0;
  const { tasks, loading } = list.value;
  if (loading || !watched) return;
  const asked = filters.value;
  void count();
  try {
    const page = await readPage(queryOf(asked));
    if (asked !== filters.value) return;
    if (!atTop.peek() || (asked.sort && asked.sort !== "newest")) return update(page.items);
    const kept = tasks.filter((task) => fits(task, filters.value) && !page.items.some((item) => item.id === task.id));
    const last = page.items.at(-1)?.id ?? "";
    const older = page.next_cursor ? kept.filter((task) => task.id < last) : [];
    const cursor = older.length ? list.value.cursor : page.next_cursor;
    list.value = { ...list.value, tasks: [...page.items, ...older], cursor, fresh: 0 };
  } catch {
    // The next event, or the user, triggers another read.
  }
}
