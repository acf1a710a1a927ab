// The current page: the fragment of the address, which is never sent to the server.
import { computed, signal } from "../../vendor/preact.js";

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

/** {page, id, query}: `#/tasks/T-…?a=b` is page tasks, id T-…, query a=b; no page is named at first. */
export const route = computed(() => {
  const [path, query = ""] = hash.value.replace(/^#\/?/, "").split("?");
  const [page, id = ""] = path.split("/");
  return { page, id: decoded(id), query };
});

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** The address of a page, or of one thing on it. */
export const addressOf = (page, id = "", query = "") => `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}${query ? `?${query}` : ""}`;

/**
 * Navigates to a page; `quietly` adds no history entry, and gives way to an address that was opened a moment ago, whose
 * event has not arrived yet.
 */
export function go(page, id = "", { quietly = false, query = "" } = {}) {
  const address = addressOf(page, id, query);
  if (quietly) {
    if (location.hash !== hash.peek()) return;
    history.replaceState(null, "", address);
    hash.value = location.hash;
  } else location.hash = address;
}
