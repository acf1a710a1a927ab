// Keyboard shortcuts: each view registers its own, the latest first. Letters are ignored while typing into a field.
import { signal, useLayoutEffect, useRef } from "../../vendor/preact.js";
import { go } from "./route.js";

const PAGES = { i: "inbox", t: "tasks", o: "overview", e: "events", w: "workers", s: "sessions", h: "webhooks" };
const SEQUENCE_MS = 1_200;
const layers = [];

export const helpShown = signal(false);

/** Registers shortcuts while the view is drawn: {j: fn, "Control+Enter": fn}. */
export function useKeys(keys) {
  const latest = useRef(keys);
  latest.current = keys;
  useLayoutEffect(() => {
    layers.push(latest);
    return () => layers.splice(layers.indexOf(latest), 1);
  }, []);
}

const writes = (element) =>
  element.isContentEditable || element.matches("textarea, select, input:not([type=checkbox]):not([type=radio]):not([type=button])");

let leader = 0;

addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey || event.defaultPrevented) return;
  const held = event.ctrlKey || event.metaKey;
  const name = held ? `Control+${event.key}` : event.key;
  if (!held && event.key !== "Escape" && writes(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (taken(name, event) || held) return;
  if (event.timeStamp - leader < SEQUENCE_MS && PAGES[name]) {
    event.preventDefault();
    go(PAGES[name]);
  }
  leader = name === "g" ? event.timeStamp : 0;
  if (name === "?") helpShown.value = true;
});

function taken(name, event) {
  if (event.timeStamp - leader < SEQUENCE_MS && PAGES[name]) return false;
  for (const layer of [...layers].reverse()) {
    const act = layer.current[name];
    if (act && act(event) !== false) {
      event.preventDefault();
      return true;
    }
  }
  return false;
}
