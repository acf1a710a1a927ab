// What an asker wrote, for reading: text as Markdown, objects as names and values. It can be shown as it was written.
import { html, useEffect, useErrorBoundary, useMemo, useState } from "../../vendor/preact.js";
import { stringify } from "../text/json.js";
import { visible } from "../text/visible.js";
import { Word } from "./asker.js";
import { Text } from "./text.js";

const LONGEST = 20_000;
const FOLD_CHARACTERS = 2_500;
const FOLD_LINES = 40;
const SHORT = 160;
const MOST_PARTS = 300;
const DEEPEST = 6;

/** A JSON value of an asker. What is very long stands as it was written. */
export function Typeset({ value, label }) {
  const isText = typeof value === "string";
  const text = useMemo(() => (isText ? value : stringify(value, 2)), [value]);
  const [raw, setRaw] = useState(false);
  const [failed, again] = useErrorBoundary(() => {});
  const plain = raw || failed || text.length > LONGEST || !(isText || isDrawable(value));
  const isLong = text.length > FOLD_CHARACTERS || text.split("\n", FOLD_LINES + 1).length > FOLD_LINES;
  const turn = () => (failed && again(), setRaw(!raw));
  return html`<div role="group" aria-label=${label}>
    ${plain ? html`<${Text} text=${text} mono=${!isText} />` : html`<${Folded} isLong=${isLong} size=${text.length}>${isText ? html`<${LazyMarkdown} text=${text} />` : html`<${Structure} value=${value} />`}<//>`}
    ${text.length <= LONGEST && (!isText || MARKED.test(text)) && html`<button type="button" class="link source" aria-pressed=${raw} onClick=${turn}>${raw ? "Typeset" : isText ? "As written" : "As JSON"}</button>`}
  </div>`;
}

/** Whether there may be marks of Markdown in a text. */
const MARKED = /[*_`#>|~[\]]|^\s*(?:[-+]|\d+[.)])\s|^ {4}/m;

function Folded({ isLong, size, children }) {
  const [whole, setWhole] = useState(false);
  if (!isLong) return children;
  return html`<div class=${`text ${whole ? "" : "folded"}`}><div class="said">${children}</div>
    <button class="link fold" type="button" aria-expanded=${whole} onClick=${() => setWhole(!whole)}>${whole ? "Show less" : `Show all (${size.toLocaleString()} characters)`}</button></div>`;
}

let loading = null;
let Markdown = null;

/** The parser is loaded with the first text that needs it; until then, and without it, the text stands as it was written. */
function LazyMarkdown({ text }) {
  const [, setReady] = useState(Boolean(Markdown));
  useEffect(() => {
    if (Markdown) return;
    loading ??= import("./markdown.js").then((found) => (Markdown = found.Markdown));
    loading.then(() => setReady(true), () => (loading = null));
  }, []);
  return Markdown ? html`<${Markdown} text=${text} />` : html`<div class="block" dir="auto">${visible(text)}</div>`;
}

/** Whether names and values say it better than JSON: not for what is deep or has very many parts. */
function isDrawable(value) {
  let left = MOST_PARTS;
  const fits = (part, depth) => {
    if (part === null || typeof part !== "object") return --left > 0;
    return --left > 0 && depth < DEEPEST && Object.values(part).every((inner) => fits(inner, depth + 1));
  };
  return value !== null && typeof value === "object" && Object.keys(value).length > 0 && fits(value, 0);
}

function Structure({ value }) {
  if (typeof value === "string") return isShort(value) ? html`<${Word} value=${value} />` : html`<div class=${`block ${/\n/.test(value) ? "mono" : ""}`} dir="auto">${visible(value)}</div>`;
  if (Array.isArray(value) && value.length)
    return html`<ul class="parts">${value.map((item, index) => html`<li key=${index}><${Structure} value=${item} /></li>`)}</ul>`;
  if (value && typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype && Object.keys(value).length)
    return html`<dl class="members">${Object.entries(value).map(([name, member]) => html`<div key=${name}><dt>${visible(name)}</dt><dd><${Structure} value=${member} /></dd></div>`)}</dl>`;
  return html`<code class="word">${stringify(value)}</code>`;
}

const isShort = (text) => text.length <= SHORT && !text.includes("\n");
