// What outlives a reload of this tab, and nothing else: sessionStorage, which no other tab and no disk sees for long.

const PREFIX = "swarmhold.";

/** The value kept under the name, or `fallback`. */
export function kept(name, fallback = null) {
  try {
    const text = sessionStorage.getItem(PREFIX + name);
    return text === null ? fallback : JSON.parse(text);
  } catch {
    return fallback;
  }
}

/** Keep the value; null forgets it. Says whether there was room. */
export function keep(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(PREFIX + name);
    else sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** The names under `prefix` that something is kept under. */
export function keptNames(prefix) {
  const start = PREFIX + prefix;
  return Object.keys(sessionStorage).filter((name) => name.startsWith(start)).map((name) => name.slice(PREFIX.length));
}
