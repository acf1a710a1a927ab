// The two live connections of a signed-in tab, and their state.
import { computed, effect, signal, untracked } from "../../vendor/preact.js";
import { Bridge } from "../net/bridge.js";
import { Feed } from "../net/feed.js";
import { beat, held, reader, sessionEnded } from "./session.js";

const LATEST = 500;
const HIDDEN_MS = 30_000;
const STOPPED_MS = 2_000;
const listeners = new Set();
const frames = {};

/** The feed of all events, null while nobody is signed in. */
export const feed = signal(null);
/** The senior's connection, null without that role. */
export const bridge = signal(null);

/** live | connecting | offline | replaced: the worse of the two connections. */
export const standing = computed(() => {
  const states = [feed.value?.state.value, bridge.value?.state.value].filter(Boolean);
  return ["offline", "replaced", "connecting"].find((state) => states.includes(state)) ?? "live";
});

/** Calls `listener(events)` until the page is left. */
export function onEvents(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Call `handler(frame)` for every frame of this type. */
export function onFrame(type, handler) {
  frames[type] = handler;
}

/** Reconnects now instead of after the pause. */
export function retryNow() {
  dispatchEvent(new Event("online"));
  if (bridge.value?.state.value === "replaced") bridge.value.retake();
}

effect(() => {
  const credential = reader.value;
  untracked(() => {
    feed.value?.stop();
    feed.value = credential ? new Feed(credential, { query: { last: LATEST }, onRefused: sessionEnded }) : null;
    feed.value?.listen((events) => listeners.forEach((listener) => listener(events)));
    feed.value?.start();
  });
});

const seniority = computed(() => held.value?.tokens.senior ?? null);
effect(() => {
  const credential = seniority.value;
  untracked(() => {
    bridge.value?.stop();
    const heard = new Proxy({ refused: sessionEnded }, { get: (own, type) => own[type] ?? frames[type] });
    bridge.value = credential ? new Bridge(credential, held.value.bridge, heard) : null;
    bridge.value?.start();
  });
});

// The server takes a closed connection for a closed console, until its next heartbeat.
effect(() => {
  if (standing.value === "live" && held.value) untracked(beat);
});

// Browsers limit HTTP/1.1 connections per host: a hidden tab closes its feed. The WebSocket still brings questions.
let hiding = 0;
function hide() {
  feed.value?.stop();
  setTimeout(beat, STOPPED_MS);
}
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(hide, HIDDEN_MS);
  else feed.value?.start();
});
