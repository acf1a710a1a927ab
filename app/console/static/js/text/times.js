// Formats instants and durations for people.

const UNITS = [
  [86_400, "d", 3_600, "h"],
  [3_600, "h", 60, "min"],
  [60, "min", 60, "s"],
];

/** A duration in at most two units: `3 h 20 min`, `12 s`. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  for (const [size, name, small, smallName] of UNITS) {
    if (seconds < size) continue;
    const rest = Math.floor((seconds % size) / small);
    return rest && seconds < 10 * size ? `${Math.floor(seconds / size)} ${name} ${rest} ${smallName}` : `${Math.floor(seconds / size)} ${name}`;
  }
  return `${seconds} s`;
}

/** Hours, minutes and seconds: `4:07`, `1:04:07`. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(seconds / 3600);
  const minutes = String(Math.floor((seconds % 3600) / 60)).padStart(hours ? 2 : 1, "0");
  return `${hours ? `${hours}:` : ""}${minutes}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A short duration that may be less than a second. */
export function span(ms) {
  return ms < 1000 ? `${Math.max(0, Math.round(ms))} ms` : ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : duration(ms);
}

/** The age of an instant. */
export const age = (instant, now) => duration(now - Date.parse(instant));

/** The local time of day, with the day when it was another one. */
export function moment(instant, now = Date.now()) {
  const date = new Date(instant);
  const clock = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const sameDay = new Date(now).toDateString() === date.toDateString();
  return sameDay ? clock : `${date.toLocaleDateString([], { month: "short", day: "numeric" })} ${clock}`;
}

/** The whole instant (ISO 8601), for titles. */
export const exact = (instant) => new Date(instant).toISOString();
