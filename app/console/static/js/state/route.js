// The current page: the fragment of the address, which is never sent to the server.
import { computed, signal } from "../../vendor/preact.js";

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

/** {page, id}: `#/tasks/T-…` is page tasks, id T-…; no page is named at first. */
export const route = computed(() => {
  const [page, id = ""] = hash.value.replace(/^#\/?/, "").split("/");
  return { page, id: decoded(id) };
});

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** The address of a page, or of one thing on it. */
export const addressOf = (page, id = "") => `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}`;

/** Navigates to a page; `quietly` adds no history entry. */
export function go(page, id = "", { quietly = false } = {}) {
  const address = addressOf(page, id);
  if (quietly) {
    history.replaceState(null, "", address);
    hash.value = address;
  } else location.hash = address;
}
