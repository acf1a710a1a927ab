// The actions that the roles of this session and the status of the task allow.
import { html, useState } from "../../vendor/preact.js";
import { may } from "../state/session.js";
import { CancelDialog } from "./cancel.js";
import { DirectiveDialog } from "./directive.js";
import { DispatchDialog } from "./dispatch.js";
import { VerdictDialog } from "./verdict.js";

const UNSETTLED = ["pending", "running", "suspended", "blocked"];
const JUDGED = ["running", "suspended", "pass", "blocked"];

/** Returns [name, label, dialog] of every action that is possible now. */
function possible({ task, attempts }) {
  const live = attempts.some((one) => one.status === "live");
  const operator = may("operator");
  const senior = may("senior");
  const open = UNSETTLED.includes(task.status);
  return [
    operator && open && !live && task.status !== "suspended" && ["dispatch", task.attempt ? "Dispatch again" : "Dispatch", DispatchDialog],
    senior && JUDGED.includes(task.status) && ["override", "Overrule", VerdictDialog],
    operator && open && !(senior && JUDGED.includes(task.status)) && ["mark", "Mark", VerdictDialog],
    senior && open && ["directive", "Next directive", DirectiveDialog],
    operator && open && ["cancel", "Cancel", CancelDialog],
  ].filter(Boolean);
}

export function Actions({ facts, onDone }) {
  const [chosen, setChosen] = useState(null);
  const actions = possible(facts);
  // The dialog stays when its action is over: it may show what is shown only once.
  const close = () => setChosen(null);
  return html`${actions.length > 0 && html`<div class="buttons" role="group" aria-label="Actions">
      ${actions.map(([name, label, Dialog]) => html`<button key=${name} type="button" class=${name === "cancel" ? "danger" : ""} onClick=${() => setChosen({ name, Dialog })}>${label}…</button>`)}
    </div>`}
    ${chosen && html`<${chosen.Dialog} facts=${facts} role=${chosen.name === "override" ? "senior" : "operator"} onClose=${close} onDone=${() => (close(), onDone())} />`}`;
}
