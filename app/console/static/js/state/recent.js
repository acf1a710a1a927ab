// The latest events of the feed, up to a limit.
import { signal } from "../../vendor/preact.js";
import { onEvents } from "./live.js";

export const MOST = 2_000;

/** The latest events, oldest first; how many ever came; and whether new ones are held back. */
export const recent = signal([]);
export const counted = signal(0);
export const paused = signal(false);

let held = [];

onEvents((events) => {
  counted.value += events.length;
  if (paused.value) held = [...held, ...events].slice(-MOST);
  else recent.value = [...recent.value, ...events].slice(-MOST);
});

/** Pauses new events, or shows those that arrived during the pause. */
export function togglePause() {
  paused.value = !paused.value;
  if (paused.value) return;
  recent.value = [...recent.value, ...held].slice(-MOST);
  held = [];
}

/** How many events arrived during the pause. */
export const heldBack = () => held.length;
