// Storage that survives a reload of this tab only: sessionStorage, which other tabs cannot read.
import { parse, stringify } from "../text/json.js";

const PREFIX = "swarmhold.";

/** Returns the value stored under the name, or `fallback`. */
export function kept(name, fallback = null) {
  try {
    const text = sessionStorage.getItem(PREFIX + name);
    return text === null ? fallback : parse(text);
  } catch {
    return fallback;
  }
}

/** Stores the value; null deletes it. Returns whether there was room. */
export function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Returns the stored names that begin with `prefix`. */
export function keptNames(prefix) {
  const start = PREFIX + prefix;
  return Object.keys(sessionStorage).filter((name) => name.startsWith(start)).map((name) => name.slice(PREFIX.length));
}
