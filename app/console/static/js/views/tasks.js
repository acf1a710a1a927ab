// The list of tasks: filtered by its address, live, of any length, with expandable children, and many chosen at once.
import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { Listing } from "../parts/listing.js";
import { Trouble } from "../parts/problem.js";
import { choose, chooseNone, chosen, turn } from "../state/chosen.js";
import { filters, isNarrowed, setFilters, NONE } from "../state/filters.js";
import { useKeys } from "../state/keys.js";
import { go } from "../state/route.js";
import { may } from "../state/session.js";
import { atTop, children, list, readOn, reload, toggleChildren, watchTasks } from "../state/tasks.js";
import { Filters } from "./filters.js";
import { FirstTask } from "./first-steps.js";
import { Many } from "./many.js";
import { NewTask } from "./new-task.js";
import { TaskRow } from "./task-row.js";

const WIDE = matchMedia("(min-width: 48rem)");

/** Returns the rows: tasks, each followed by its expanded children. */
function rowsOf(tasks, opened) {
  const rows = [];
  const add = (task, depth) => {
    rows.push({ task, depth, open: opened.has(task.id) });
    for (const child of opened.get(task.id) ?? []) add(child, depth + 1);
  };
  for (const task of tasks) add(task, 0);
  return rows;
}

export function TasksPage() {
  const { tasks, cursor, loading, error, fresh } = list.value;
  const rows = useMemo(() => rowsOf(tasks, children.value), [tasks, children.value]);
  const [at, setAt] = useState(-1);
  const [isNew, setNew] = useState(false);
  useEffect(() => watchTasks(), []);
  useEffect(() => void reload(), [filters.value]);
  const move = (step) => setAt((before) => Math.max(0, Math.min(rows.length - 1, before + step)));
  const toggle = (wanted) => () => {
    const row = rows[at];
    if (row && row.open !== wanted) toggleChildren(row.task.id).catch(() => {});
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    Enter: (event) => (event.target.closest("a, button, input, select") || !rows[at] ? false : go("task", rows[at].task.id)),
    l: toggle(true),
    h: toggle(false),
    x: () => may("operator") && rows[at] && turn(rows[at].task.id),
    r: () => void reload(),
    n: () => may("operator") && setNew(true),
    "/": () => document.getElementById("search").focus(),
    Escape: (event) => (event.target.closest(".filters") ? event.target.blur() : chosen.value.ids.size ? chooseNone() : false),
  });
  const picks = may("operator");
  const isEvery = tasks.length > 0 && tasks.every((task) => chosen.value.ids.has(task.id));
  return html`
    <div class="bar"><h1>Tasks</h1>
      <span class="hint" role="status">${loading ? "Reading…" : `${tasks.length}${cursor ? "+" : ""} shown`}</span>
      ${fresh > 0 && !atTop.value && html`<button type="button" class="small" onClick=${reload}>${fresh} new</button>`}
      ${picks && html`<button type="button" class="small end" onClick=${() => setNew(true)}>New task</button>`}</div>
    <${Filters} />
    <${Trouble} problem=${error} />
    <${Many} />
    <div class="table-head task-row"><span class="pick">${picks && html`<input type="checkbox" checked=${isEvery} aria-label="Choose all that are shown" onChange=${() => (isEvery ? chooseNone() : choose(tasks.map((task) => task.id)))} />`}</span>
      <span></span><span>Status</span><span>Agent</span><span>Directive</span><span>Parent</span><span>Attempt</span><span>Took</span><span>Changed</span></div>
    <${Listing} items=${rows} rowHeight=${WIDE.matches ? 34 : 60} keyOf=${({ task, depth }) => `${task.id}/${depth}`} label="Tasks" selected=${at}
      onEnd=${readOn} onScroll=${(top) => (atTop.value = top < 10)}
      row=${(row) => html`<${TaskRow} ...${row} picked=${chosen.value.ids.has(row.task.id)} onPick=${picks && (() => turn(row.task.id))} onToggle=${() => toggleChildren(row.task.id).catch(() => {})} />`}
      empty=${!loading && !error && html`<${Nothing} onNew=${() => setNew(true)} />`} />
    ${isNew && html`<${NewTask} onClose=${() => setNew(false)} />`}
  `;
}

function Nothing({ onNew }) {
  if (!isNarrowed.value) return html`<${FirstTask} onNew=${onNew} />`;
  return html`<div class="empty"><p>No task fits this filter.${filters.value.q ? " A task that is seconds old may not be found by its words yet." : ""}</p>
    <button type="button" onClick=${() => setFilters(NONE)}>Show all tasks</button></div>`;
}
