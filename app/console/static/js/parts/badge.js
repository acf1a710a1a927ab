// A status as a coloured word.
import { html } from "../../vendor/preact.js";

/** Of a task, a question or an attempt. */
export function Badge({ status }) {
  return html`<span class=${`badge ${status}`}><span class="dot" aria-hidden="true"></span>${status}</span>`;
}
