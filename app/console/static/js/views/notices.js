// The notices, in a live region for screen readers.
import { html } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { dismiss, notices } from "../state/notices.js";
import { visible } from "../text/visible.js";

export function Notices() {
  return html`<div class="notices" role="log" aria-live="polite" aria-label="Notices">
    ${notices.value.map(({ id, text, kind }) => html`<p key=${id} class=${`notice ${kind}`}>
      <span>${visible(text)}</span>
      <button class="quiet" type="button" aria-label="Dismiss" onClick=${() => dismiss(id)}><${Icon} name="close" /></button>
    </p>`)}
  </div>`;
}
