// Who else looks at the question that is shown, over the WebSocket. A hidden tab looks at none.
import { signal } from "../../vendor/preact.js";
import { bridge, onFrame } from "./live.js";

let looking = null;

/** {key, names}: the others at a question. */
export const others = signal({ key: null, names: [] });

/** Says which question is shown, null for none. */
export function look(key) {
  looking = key;
  others.value = { key, names: [] };
  say();
}

const say = () => bridge.value?.send({ type: "viewing", key: document.hidden ? null : looking });

/** Called with every welcome: a new connection knows of nothing. */
export const lookAgain = () => looking && say();

onFrame("viewers", ({ key, viewers }) => {
  if (key === looking) others.value = { key, names: viewers };
});
document.addEventListener("visibilitychange", () => looking && say());
