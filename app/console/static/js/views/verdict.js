// The dialog for a verdict: pass or blocked, with a value. A senior may also override a pass.
import { html, useState } from "../../vendor/preact.js";
import { ActDialog } from "../parts/act.js";
import { ask } from "../state/session.js";
import { textOf } from "../text/visible.js";
import { parse } from "../text/json.js";

/** Returns the parsed JSON of a text, or the text itself if it is not JSON. */
function valueOf(text) {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

export function VerdictDialog({ facts: { task }, role, onDone, onClose }) {
  const [ok, setOk] = useState(task.status !== "pass");
  const [text, setText] = useState(task.last_result === null ? "" : textOf(task.last_result));
  const act = () => {
    const value = text === "" ? null : valueOf(text);
    return ask(role, "POST", `/v1/${role}/tasks/${task.id}/verdict`, { body: { ok, value } });
  };
  return html`<${ActDialog} title=${role === "senior" ? "Overrule" : "Mark the task"} label=${ok ? "Set to pass" : "Set to blocked"} act=${act} onDone=${onDone} onClose=${onClose}>
    <fieldset><legend>The task is</legend>
      <label class="check"><input type="radio" name="ok" checked=${ok} onChange=${() => setOk(true)} />pass</label>
      <label class="check"><input type="radio" name="ok" checked=${!ok} onChange=${() => setOk(false)} />blocked</label></fieldset>
    <label>Its result, as JSON or text<textarea rows="6" class="mono" value=${text} onInput=${(event) => setText(event.target.value)}></textarea></label>
    <p class="hint">A live attempt is ended.</p>
  <//>`;
}
