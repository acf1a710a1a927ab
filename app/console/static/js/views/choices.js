// The choices of a question, as buttons; the first nine have keyboard shortcuts.
import { html, useMemo, useRef } from "../../vendor/preact.js";
import { useKeys } from "../state/keys.js";
import { line } from "../text/visible.js";
import { stringify } from "../text/json.js";

const HASTE_MS = 500;

const wordFor = (value) => (value === true ? "Yes" : value === false ? "No" : typeof value === "string" ? line(value, 400) : line(stringify(value), 400));

/** Calls `onChoose(value)` at once. A key pressed just as the question appears is ignored: it was meant for another one. */
export function Choices({ choices, disabled, onChoose }) {
  const shown = useRef(performance.now());
  const keys = useMemo(() => choices.slice(0, 9).map((_, index) => String(index + 1)), [choices]);
  const byKey = (index) => (event) => {
    if (disabled || event.repeat || performance.now() - shown.current < HASTE_MS) return;
    onChoose(choices[index]);
  };
  useKeys(Object.fromEntries(keys.map((key, index) => [key, byKey(index)])));
  return html`<div class="choices" role="group" aria-label="Choices">
    ${choices.map((value, index) => html`<button key=${index} type="button" class="choice" disabled=${disabled} onClick=${() => onChoose(value)}
      aria-keyshortcuts=${index < 9 ? String(index + 1) : undefined}>
      ${index < 9 && html`<kbd aria-hidden="true">${index + 1}</kbd>`}<span dir="auto">${wordFor(value) || "(empty)"}</span></button>`)}
  </div>`;
}
