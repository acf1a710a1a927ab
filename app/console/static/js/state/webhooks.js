// Webhooks, which the holder of the root key alone may see: the key is kept in the memory of this page, for a while.
import { effect, signal } from "../../vendor/preact.js";
import { call } from "../net/api.js";
import { Problem } from "../net/problem.js";
import { held } from "./session.js";

const KEPT_MS = 15 * 60_000;
const PATH = "/v1/admin/webhooks";
const MOST = 500;
let forgetting = 0;

/** The root key while it is kept; it is never stored. */
export const rootKey = signal("");

/** Forget the root key. */
export function forgetKey() {
  clearTimeout(forgetting);
  rootKey.value = "";
}

/** Keep the key for a while, if it opens the webhooks. Throws Problem. */
export async function unlock(key) {
  await call(key, "GET", PATH, { query: { limit: 1 } }).catch((error) => {
    const isOther = error instanceof Problem && (error.status === 401 || error.status === 403);
    throw isOther ? new Problem(error.status, { ...error.fields, detail: "This is not the root key." }) : error;
  });
  rootKey.value = key;
  forgetting = setTimeout(forgetKey, KEPT_MS);
}

/** All webhooks, the oldest first, up to a bound: {items, more}. Throws Problem. */
export async function readWebhooks() {
  const items = [];
  let cursor = null;
  do {
    const page = await asRoot("GET", "", { query: { limit: 100, cursor } });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < MOST);
  return { items, more: Boolean(cursor) };
}

/** Do something to one webhook: `POST …/{id}/{what}`, or delete it. Throws Problem. */
export const change = (id, what, options) => (what === "delete" ? asRoot("DELETE", `/${id}`) : asRoot("POST", `/${id}/${what}`, options));

async function asRoot(method, path, options) {
  try {
    return await call(rootKey.value, method, PATH + path, options);
  } catch (error) {
    if (error instanceof Problem && error.status === 401) forgetKey();
    throw error;
  }
}

// Who signs out takes the key along.
effect(() => {
  if (!held.value) forgetKey();
});
