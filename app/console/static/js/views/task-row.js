// A task in one row.
import { html } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { addressOf } from "../state/route.js";
import { line } from "../text/visible.js";

export function TaskRow({ task, depth, open, onToggle }) {
  const labels = Object.entries(task.labels);
  return html`<div class=${`task-row depth-${Math.min(depth, 6)}`}>
    <button class="quiet twist" type="button" aria-expanded=${open} aria-label=${`Children of ${task.id}`} onClick=${onToggle}><${Icon} name=${open ? "down" : "right"} /></button>
    <${Badge} status=${task.status} />
    <span class="agent">${line(task.spec.agent, 60)}</span>
    <a href=${addressOf("task", task.id)} title=${task.id}>${line(task.spec.initial_directive, 200) || task.id}
      ${labels.slice(0, 3).map(([name, value]) => html` <span class="tag" key=${name}>${line(name, 20)}: ${line(value, 30)}</span>`)}</a>
    <span class="number">${task.attempt}</span>
    <${Age} at=${task.updated_at} />
  </div>`;
}
