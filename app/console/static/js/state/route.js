// Where the reader is: the part of the address behind the hash, which never reaches the server.
import { computed, signal } from "../../vendor/preact.js";

const HOME = "inbox";

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
});

/** {page, id}: `#/tasks/T-…` is page tasks, id T-…. */
export const route = computed(() => {
  const [page, id = ""] = hash.value.replace(/^#\/?/, "").split("/");
  return { page: page || HOME, id: decoded(id) };
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

/** Go there; `quietly` leaves no trace in the history. */
export function go(page, id = "", { quietly = false } = {}) {
  const address = addressOf(page, id);
  if (quietly) {
    history.replaceState(null, "", address);
    hash.value = address;
  } else location.hash = address;
}
