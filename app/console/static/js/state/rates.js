// The server's counts: now, and of each of the latest minutes, which the server keeps.
import { effect, signal } from "../../vendor/preact.js";
import { onEvents } from "./live.js";
import { ask, reader } from "./session.js";

const READ_MS = 5_000;
/** A minute's counts may be added a little after it is over. */
const SETTLED_MS = 3_000;

/** The latest whole minutes, oldest first; null before the first answer. */
export const history = signal(null);
/** How many minutes are shown. */
export const shownMinutes = signal(60);
/** The server's latest counts. */
export const stats = signal(null);
/** The nodes that share the database. */
export const nodes = signal([]);
/** {items, queues}: who listens to which queue; null before the first answer. */
export const workers = signal(null);

/** Read the server's counts now. Throws Problem. */
export async function refreshStats() {
  const [found, shared] = await Promise.all([ask("any", "GET", "/v1/operator/stats"), ask("any", "GET", "/v1/operator/nodes")]);
  stats.value = found;
  nodes.value = shared.items;
}

/** Read who listens now. Throws Problem. */
export async function refreshWorkers() {
  workers.value = await ask("any", "GET", "/v1/operator/workers");
}

async function refreshHistory() {
  history.value = (await ask("any", "GET", "/v1/operator/history", { query: { minutes: shownMinutes.value } })).items;
}

/** Keeps these up to date until the returned function is called. */
export function watch(...readers) {
  const read = () => {
    if (reader.value && !document.hidden) for (const one of readers) one().catch(() => {});
  };
  read();
  const timer = setInterval(read, READ_MS);
  return () => clearInterval(timer);
}

/** Keeps the minutes up to date: reads them again soon after each has ended. */
export function watchMinutes() {
  let timer = 0;
  const read = () => {
    refreshHistory().catch(() => {});
    timer = setTimeout(read, 60_000 - (Date.now() % 60_000) + SETTLED_MS);
  };
  const stop = effect(() => {
    void shownMinutes.value;
    clearTimeout(timer);
    read();
  });
  return () => (stop(), clearTimeout(timer));
}

// Whether dispatching is paused is shown on every page.
effect(() => {
  if (reader.value) refreshStats().catch(() => {});
  else stats.value = history.value = workers.value = null;
});
onEvents((events) => {
  if (events.some((event) => event.kind === "loop_paused" || event.kind === "loop_resumed")) refreshStats().catch(() => {});
});
