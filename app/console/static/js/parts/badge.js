// A status in one word and one colour; the word alone says it too.
import { html } from "../../vendor/preact.js";

/** Of a task, a question or an attempt. */
export function Badge({ status }) {
  return html`<span class=${`badge ${status}`}><span class="dot" aria-hidden="true"></span>${status}</span>`;
}
