// The asker's own words about a value, marked as such: they are never the value.
import { html } from "../../vendor/preact.js";
import { line, visible } from "../text/visible.js";
import { wordOf } from "../text/literal.js";

const LONGEST = 600;

/** Draws nothing without words. */
export function Asker({ words }) {
  if (typeof words !== "string" || !words.trim()) return null;
  return html`<span class="asker"><span class="tag">asker</span> <q dir="auto">${line(words, LONGEST)}</q></span>`;
}

/** A value as it is sent. */
export function Word({ value }) {
  const { text, code } = wordOf(value);
  return html`${text !== undefined && html`<span class="word" dir="auto">${visible(text)}</span>`}${code !== undefined && html`<code class="word">${code}</code>`}`;
}
