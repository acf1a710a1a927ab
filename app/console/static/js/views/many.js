// The bar of the chosen tasks, and the dialog that changes them, which stays when nothing is chosen any more.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { useBusy, useFetched } from "../parts/busy.js";
import { Dialog } from "../parts/dialog.js";
import { Trouble } from "../parts/problem.js";
import { change, choose, chooseNone, chosen, countFor, selection } from "../state/chosen.js";
import { filters } from "../state/filters.js";
import { notify } from "../state/notices.js";
import { addressOf } from "../state/route.js";
import { counts, list, reload } from "../state/tasks.js";
import { visible } from "../text/visible.js";

const WORDS = {
  cancel: {
    title: "Cancel tasks", done: "cancelled", danger: true,
    says: (count) => `${tasks(count)} will be cancelled, and everything below ${count === 1 ? "it" : "them"}. Workers are told to stop and open questions are withdrawn. This cannot be undone.`,
    none: "None of them can be cancelled: they are over.",
  },
  retry: {
    title: "Retry tasks", done: "dispatched again", danger: false,
    says: (count) => `${tasks(count)} that ${count === 1 ? "is" : "are"} blocked will be dispatched again, each with its last spawner, queue and layers.`,
    none: "None of them is blocked: only blocked tasks are retried.",
  },
};

const tasks = (count) => `${count.toLocaleString()} task${count === 1 ? "" : "s"}`;

export function Many() {
  const { ids, all } = chosen.value;
  const [what, setWhat] = useState(null);
  const { status } = filters.value;
  const found = counts.value && (status ? counts.value[status] ?? 0 : Object.values(counts.value).reduce((sum, count) => sum + count, 0));
  return html`${ids.size > 0 && html`<div class="many" role="group" aria-label="Chosen tasks"><b>${all ? `All ${found?.toLocaleString() ?? ""} that fit` : `${ids.size.toLocaleString()} chosen`}</b>
      <button type="button" class="small" onClick=${() => setWhat("retry")}>Retry…</button>
      <button type="button" class="small danger" onClick=${() => setWhat("cancel")}>Cancel…</button>
      ${!all && list.value.cursor && html`<button type="button" class="link" onClick=${() => choose(ids, true)}>Choose all ${found?.toLocaleString() ?? ""} that fit</button>`}
      <button type="button" class="link" onClick=${chooseNone}>Choose none</button></div>`}
    ${what && html`<${ChangeDialog} what=${what} onClose=${() => setWhat(null)} />`}`;
}

function ChangeDialog({ what, onClose }) {
  const [filter] = useState(selection);
  const [reason, setReason] = useState("");
  const [done, setDone] = useState(null);
  const [run, busy, problem] = useBusy();
  const counted = useFetched(() => countFor(what, filter), []);
  const { title, says, none, danger, done: past } = WORDS[what];
  useEffect(() => () => done && void reload(), [done]);
  const act = (event) => {
    event.preventDefault();
    return run(async () => {
      const found = await change(what, filter, what === "cancel" && reason ? { reason } : {}, setDone);
      chooseNone();
      void reload();
      if (!found.skipped) {
        notify(`${tasks(found.count)} ${past}.`, "good");
        onClose();
      }
    });
  };
  const left = done && !busy && !problem;
  return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${act}>
    ${done ? html`<p role="status">${tasks(done.count)} ${past}${done.skipped ? `, ${done.skipped.toLocaleString()} left as they are` : ""}${busy ? "…" : "."}</p>
      ${done.reasons.length > 0 && html`<ul class="reasons">${done.reasons.slice(0, 20).map((one) => html`<li key=${one.task_id}><a href=${addressOf("task", one.task_id)}>…${one.task_id.slice(-8)}</a> ${visible(one.detail)}</li>`)}</ul>`}`
    : html`<p role="status">${counted.value === null ? "Counting…" : counted.value ? says(counted.value) : none}</p>
      ${what === "cancel" && counted.value > 0 && html`<label>Reason<input value=${reason} onInput=${(event) => setReason(event.target.value)} /></label>`}`}
    <${Trouble} problem=${problem ?? counted.problem} />
    <div class="buttons">${!left && html`<button class=${danger ? "main danger" : "main"} type="submit" disabled=${busy || !counted.value}>${title.split(" ")[0]} ${counted.value ? tasks(counted.value) : "tasks"}</button>`}
      <button type="button" onClick=${onClose}>${left ? "Close" : "Leave it"}</button></div>
  </form><//>`;
}
