// The dialog that shows the handle of a dispatched external attempt, once.
import { html } from "../../vendor/preact.js";
import { Dialog } from "../parts/dialog.js";
import { notify } from "../state/notices.js";

export function Handed({ handle, onClose }) {
  const copy = () => navigator.clipboard?.writeText(handle).then(() => notify("Copied.", "good"), () => notify("The browser refused; select it by hand.", "bad"));
  return html`<${Dialog} title="The worker’s handle" onClose=${onClose}>
    <p>It opens this attempt and is not shown again. Hand it to the worker.</p>
    <p><code class="secret">${handle}</code></p>
    <div class="buttons"><button class="main" type="button" onClick=${copy}>Copy</button><button type="button" onClick=${onClose}>Close</button></div>
  <//>`;
}
