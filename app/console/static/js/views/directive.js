// The prompt of a task's next attempt.
import { html, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { ask } from "../state/session.js";

export function DirectiveDialog({ facts: { task, attempts }, onDone, onClose }) {
  const [prompt, setPrompt] = useState(attempts.at(-1)?.prompt ?? task.spec.initial_directive);
  const act = () => ask("senior", "POST", `/v1/senior/tasks/${task.id}/directive`, { body: { prompt } });
  return html`<${ActDialog} title="Next directive" label="Set it" act=${act} onDone=${onDone} onClose=${onClose}>
    <p>The next attempt gets this prompt. What runs now does not change.</p>
    <label>Prompt<textarea required rows="10" value=${prompt} onInput=${(event) => setPrompt(event.target.value)}></textarea></label>
  <//>`;
}
