// A dialog for one action: its fields, an error, and two buttons.
import { html } from "../../vendor/preact.js";
import { useBusy } from "./busy.js";
import { Dialog } from "./dialog.js";
import { Trouble } from "./problem.js";

/** `act()` performs the action; `onDone` is called after a success. */
export function ActDialog({ title, label, danger = false, act, onDone, onClose, children }) {
  const [run, busy, problem] = useBusy();
  const submit = async (event) => {
    event.preventDefault();
    if (await run(act)) onDone();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${submit}>
    ${children}
    <${Trouble} problem=${problem} />
    <div class="buttons"><button class=${danger ? "main danger" : "main"} type="submit" disabled=${busy}>${label}</button><button type="button" autofocus=${danger} onClick=${onClose}>Leave it</button></div>
  </form><//>`;
}
