// The dialog by which the asker's side takes a question back.
import { html, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { notify } from "../state/notices.js";
import { ask } from "../state/session.js";

export function WithdrawDialog({ question: { key }, onDone, onClose }) {
  const [reason, setReason] = useState("");
  const act = async () => {
    await ask("operator", "POST", `/v1/operator/questions/${encodeURIComponent(key)}/withdraw`, { body: reason.trim() ? { reason: reason.trim() } : {} });
    notify("Withdrawn: nobody can answer it any more.", "good");
  };
  return html`<${ActDialog} title="Withdraw the question" label="Withdraw it" danger=${true} act=${act} onDone=${onDone} onClose=${onClose}>
    <p>It is taken back for everybody, and its links are void. A task that was made for it alone is cancelled, another one goes on without an answer. This cannot be undone.</p>
    <label>Reason<input maxlength="4000" autocomplete="off" value=${reason} onInput=${(event) => setReason(event.target.value)} /></label>
  <//>`;
}
