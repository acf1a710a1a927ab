// The dialog that cancels a task and its descendants.
import { html, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { ask } from "../state/session.js";

export function CancelDialog({ facts: { task }, onDone, onClose }) {
  const [reason, setReason] = useState("");
  const act = () => ask("operator", "POST", `/v1/operator/tasks/${task.id}/cancel`, { body: reason ? { reason } : {} });
  return html`<${ActDialog} title="Cancel the task" label="Cancel the task" danger=${true} act=${act} onDone=${onDone} onClose=${onClose}>
    <p>Its worker is told to stop, its open questions are withdrawn, and every task below it is cancelled too. This cannot be undone.</p>
    <label>Reason<input value=${reason} onInput=${(event) => setReason(event.target.value)} /></label>
  <//>`;
}
