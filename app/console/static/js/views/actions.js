// The actions that the roles of this session and the status of the task allow; the likeliest is one click away.
import { html, useRef, useState } from "../../vendor/preact.js";
import { useBusy } from "../parts/busy.js";
import { Trouble } from "../parts/problem.js";
import { notify } from "../state/notices.js";
import { addressOf } from "../state/route.js";
import { ask, may } from "../state/session.js";
import { CancelDialog } from "./cancel.js";
import { DirectiveDialog } from "./directive.js";
import { DispatchDialog } from "./dispatch.js";
import { Handed } from "./handed.js";
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
  const { task, attempts } = facts;
  const actions = possible(facts);
  const last = attempts.at(-1);
  const retries = task.status === "blocked" && last && last.status !== "live" && may("operator");
  // The dialog stays when its action is over: it may show what is shown only once.
  const close = () => setChosen(null);
  return html`${(actions.length > 0 || task.suspended_on.length > 0) && html`<div class="buttons" role="group" aria-label="Actions">
      ${task.suspended_on.length > 0 && may("senior") && html`<a class="button main" href=${addressOf("inbox", task.suspended_on[0])}>Answer</a>`}
      ${retries && html`<${Retry} last=${last} onDone=${onDone} />`}
      ${actions.map(([name, label, Dialog]) => html`<button key=${name} type="button" class=${name === "cancel" ? "danger" : name === "dispatch" && !retries ? "main" : ""} onClick=${() => setChosen({ name, Dialog })}>${label}…</button>`)}
    </div>`}
    ${chosen && html`<${chosen.Dialog} facts=${facts} role=${chosen.name === "override" ? "senior" : "operator"} onClose=${close} onDone=${() => (close(), onDone())} />`}`;
}

/** Dispatches the task with the last spawner, queue and layers. */
function Retry({ last, onDone }) {
  const [run, busy, problem] = useBusy();
  const [handle, setHandle] = useState(null);
  const once = useRef(crypto.randomUUID());
  const { kind, queue } = last.spawner;
  const how = [queue ? `in the queue ${queue}` : `as ${kind}`, last.layers.length && `with ${last.layers.join(", ")}`].filter(Boolean).join(", ");
  const retry = () => run(async () => {
    const body = { spawner: last.spawner, layers: last.layers };
    const reply = await ask("operator", "POST", `/v1/operator/tasks/${last.task_id}/dispatch`, { body, headers: { "Idempotency-Key": once.current } });
    once.current = crypto.randomUUID();
    if (reply.worker_handle) return setHandle(reply.worker_handle);
    notify(`Attempt ${reply.attempt} started ${how}.`, "good");
    onDone();
  });
  return html`<button type="button" class="main" disabled=${busy} title=${`Again ${how}`} onClick=${retry}>Retry</button>
    <${Trouble} problem=${problem} />
    ${handle && html`<${Handed} handle=${handle} onClose=${() => (setHandle(null), onDone())} />`}`;
}
