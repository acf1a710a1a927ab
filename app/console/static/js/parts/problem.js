// An error message of the server.
import { html } from "../../vendor/preact.js";
import { visible } from "../text/visible.js";

/** Draws nothing without an error. */
export function Trouble({ problem }) {
  if (!problem) return null;
  return html`<p class="trouble" role="alert">${visible(problem.message)} <code>${problem.code ?? ""}</code></p>`;
}
