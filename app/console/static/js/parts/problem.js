// What went wrong, in the server's own words.
import { html } from "../../vendor/preact.js";
import { visible } from "../text/visible.js";

/** Nothing when there is none. */
export function Trouble({ problem }) {
  if (!problem) return null;
  return html`<p class="trouble" role="alert">${visible(problem.message)} <code>${problem.code ?? ""}</code></p>`;
}
