// Questions that this person put off, in this tab alone: nobody else is told, and they come back by themselves.
import { computed, signal } from "../../vendor/preact.js";
import { now } from "./clock.js";
import { keep, kept } from "./kept.js";

const NAME = "snoozed";
const until = signal(kept(NAME, {}));

/** The keys of questions that are put off now. */
export const snoozed = computed(() => new Set(Object.keys(until.value).filter((key) => until.value[key] > now.value)));

/** When a question comes back, in milliseconds; 0 when it is not put off. */
export const backAt = (key) => (snoozed.value.has(key) ? until.value[key] : 0);

/** Puts a question off for so long, or takes it back with 0. */
export function snooze(key, ms) {
  const left = Object.fromEntries(Object.entries(until.value).filter(([one, at]) => one !== key && at > Date.now()));
  until.value = ms > 0 ? { ...left, [key]: Date.now() + ms } : left;
  keep(NAME, until.value);
}

/** Milliseconds until nine in the morning of the next day. */
export function untilTomorrow() {
  const morning = new Date();
  morning.setDate(morning.getDate() + 1);
  morning.setHours(9, 0, 0, 0);
  return morning - Date.now();
}
