// Questions that are no longer open, the newest decision first, as far as they were asked for.
import { signal } from "../../vendor/preact.js";
import { onEvents } from "./live.js";
import { ask } from "./session.js";

const PAGE = 50;
const MOST_EMPTY = 20;
const REFRESH_MS = 400;
const SETTLING = new Set(["senior_answered", "question_withdrawn", "question_expired"]);

const NOTHING = { items: [], next: null, wanted: "", loaded: false, problem: null };
export const decided = signal(NOTHING);
let asking = 0;
let shown = 0;

const page = (wanted, cursor) => ask("senior", "GET", "/v1/senior/questions", { query: { order: "decided", q: wanted.trim(), limit: PAGE, cursor } });

/** Reads the first page of what holds the text. What was read before stays until it is there. */
export const find = (wanted) => read(wanted, null, []);

/** Reads the next page, if there is one. */
export function more() {
  const { wanted, next, items } = decided.value;
  if (next && !reading) void read(wanted, next, items);
}

let reading = false;

async function read(wanted, from, before) {
  const own = ++asking;
  reading = true;
  try {
    let cursor = from;
    let found;
    // A page of a search may hold nothing though others follow.
    for (let tries = 0; tries < MOST_EMPTY && !found?.items.length && (cursor || !tries); tries += 1) {
      found = await page(wanted, cursor);
      cursor = found.next_cursor;
    }
    if (own === asking) decided.value = { items: [...before, ...found.items], next: cursor, wanted, loaded: true, problem: null };
  } catch (problem) {
    if (own === asking) decided.value = { ...decided.value, wanted, loaded: true, problem };
  }
  if (own === asking) reading = false;
}

let timer = 0;

/** Reads the list again after every decision while it is shown. Returns a function that stops that. */
export function watchDecided() {
  shown += 1;
  return () => {
    shown -= 1;
    if (!shown) decided.value = NOTHING;
  };
}

onEvents((events) => {
  if (!shown || !events.some(({ kind }) => SETTLING.has(kind))) return;
  timer ||= setTimeout(async () => {
    timer = 0;
    const { wanted, items } = decided.value;
    const fresh = await page(wanted, null).catch(() => null);
    if (!shown || !fresh || decided.value.wanted !== wanted) return;
    const keys = new Set(fresh.items.map(({ key }) => key));
    decided.value = { ...decided.value, items: [...fresh.items, ...items.filter(({ key }) => !keys.has(key))] };
  }, REFRESH_MS);
});
