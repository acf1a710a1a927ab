// Untrusted text: one text node with all characters visible, folded when it is long.
import { html, useMemo, useState } from "../../vendor/preact.js";
import { decisionOf } from "../text/literal.js";
import { useBusy } from "./busy.js";
import { Trouble } from "./problem.js";
import { textOf, visible } from "../text/visible.js";

const FOLD_CHARACTERS = 1_500;
const FOLD_LINES = 24;
const BLOCK = 20_000;

/** Returns the position of the fold, or null when the text is short. */
function foldOf(text) {
  let at = 0;
  for (let line = 0; line < FOLD_LINES; line += 1) {
    at = text.indexOf("\n", at) + 1;
    if (!at || at > FOLD_CHARACTERS) return text.length > FOLD_CHARACTERS ? FOLD_CHARACTERS : null;
  }
  return at < text.length ? at : null;
}

/** A long text in pieces, whose layout the browser can skip while they are not visible. */
function blocksOf(text) {
  const blocks = [];
  for (let from = 0; from < text.length; ) {
    const lineEnd = text.lastIndexOf("\n", from + BLOCK) + 1;
    const to = from + BLOCK >= text.length ? text.length : lineEnd > from ? lineEnd : from + BLOCK;
    blocks.push(text.slice(from, to));
    from = to;
  }
  return blocks;
}

/** A text of any length. `mono` for code and JSON. */
export function Text({ text, mono = false, label }) {
  const [whole, setWhole] = useState(false);
  const fold = useMemo(() => foldOf(text), [text]);
  const blocks = useMemo(() => {
    if (fold === null || !whole) return [visible(text.slice(0, fold ?? text.length))];
    return blocksOf(visible(text));
  }, [text, whole, fold]);
  const more = fold !== null && html`<button class="link fold" type="button" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>
    ${whole ? "Show less" : `Show all (${text.length.toLocaleString()} characters)`}
  </button>`;
  return html`<div class=${`text ${mono ? "mono" : ""} ${fold !== null && !whole ? "folded" : ""} ${whole ? "whole" : ""}`}>
    <div class="said" dir="auto" tabindex=${whole ? 0 : undefined} role=${whole || label ? "group" : undefined} aria-label=${whole ? label ?? "The whole text" : label}>
      ${blocks.map((block, index) => html`<div class="block" key=${index}>${block}</div>`)}
    </div>
    ${more}
  </div>`;
}

/** A JSON value: a string as text, everything else as indented JSON. */
export function Value({ value, label }) {
  const text = useMemo(() => textOf(value), [value]);
  return html`<${Text} text=${text} mono=${typeof value !== "string"} label=${label} />`;
}

/** An answer: a decision about an action in words, with the arguments if it changed them; else the value. */
export function Given({ value, label }) {
  const decided = decisionOf(value);
  if (!decided) return html`<${Value} value=${value} label=${label} />`;
  return html`<p class="block"><b>${decided}</b></p>${value.edited_action && html`<${Value} value=${value.edited_action.arguments} label="The changed arguments" />`}`;
}

/** A JSON value of which a list shows a part only (`cut`); `whole()` resolves to all of it. */
export function Preview({ value, cut, whole, label, size }) {
  const [all, setAll] = useState();
  const [run, busy, problem] = useBusy();
  if (!cut || all !== undefined) return html`<${Value} value=${all ?? value} label=${label} />`;
  const kib = size ? ` (${Math.ceil(size / 1024).toLocaleString()} KiB)` : "";
  return html`${value !== null && html`<${Value} value=${value} label=${label} />`}
    <button class="link fold" type="button" disabled=${busy} onClick=${() => run(async () => setAll(await whole()))}>Show all${kib}</button>
    <${Trouble} problem=${problem} />`;
}
