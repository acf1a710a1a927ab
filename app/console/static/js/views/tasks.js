// The list of tasks: filtered, live, of any length, with expandable children.
import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { Listing } from "../parts/listing.js";
import { Trouble } from "../parts/problem.js";
import { useKeys } from "../state/keys.js";
import { filters } from "../state/filters.js";
import { go } from "../state/route.js";
import { atTop, children, list, readOn, reload, toggleChildren, watchTasks } from "../state/tasks.js";
import { may } from "../state/session.js";
import { Filters } from "./filters.js";
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
  useEffect(() => {
    const timer = setTimeout(reload, 150);
    return () => clearTimeout(timer);
  }, [filters.value]);
  const move = (step) => setAt((before) => Math.max(0, Math.min(rows.length - 1, before + step)));
  const toggle = (wanted) => () => {
    const row = rows[at];
    if (row && row.open !== wanted) toggleChildren(row.task.id).catch(() => {});
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    Enter: (event) => (event.target.closest("a, button") || !rows[at] ? false : go("task", rows[at].task.id)),
    l: toggle(true),
    h: toggle(false),
    r: () => void reload(),
    n: () => may("operator") && setNew(true),
    "/": () => document.getElementById("by-id").focus(),
    Escape: (event) => (event.target.closest(".filters") ? event.target.blur() : false),
  });
  return html`
    <div class="bar"><h1>Tasks</h1>
      <span class="hint" role="status">${loading ? "Reading…" : `${tasks.length}${cursor ? "+" : ""} shown`}</span>
      ${fresh > 0 && !atTop.value && html`<button type="button" class="small" onClick=${reload}>${fresh} new</button>`}
      ${may("operator") && html`<button type="button" class="small end" onClick=${() => setNew(true)}>New task</button>`}</div>
    <${Filters} />
    <${Trouble} problem=${error} />
    <div class="table-head task-row" aria-hidden="true"><span></span><span>Status</span><span>Agent</span><span>Directive</span><span>Attempt</span><span>Changed</span></div>
    <${Listing} items=${rows} rowHeight=${WIDE.matches ? 34 : 60} keyOf=${({ task, depth }) => `${task.id}/${depth}`} label="Tasks" selected=${at}
      onEnd=${readOn} onScroll=${(top) => (atTop.value = top < 10)}
      row=${(row) => html`<${TaskRow} ...${row} onToggle=${() => toggleChildren(row.task.id).catch(() => {})} />`}
      empty=${!loading && html`<p class="empty"><${Icon} name="tasks" /> No task fits.</p>`} />
    ${isNew && html`<${NewTask} onClose=${() => setNew(false)} />`}
  `;
}
