// A task in one row.
import { html } from "../../vendor/preact.js";
import { Age, Took } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { addressOf } from "../state/route.js";
import { usedText } from "../text/usage.js";
import { line } from "../text/visible.js";

const SHOWN = 3;

export function TaskRow({ task, depth, open, picked, onPick, onToggle }) {
  const labels = Object.entries(task.labels);
  const title = line(task.spec.initial_directive, 200) || task.id;
  return html`<div class=${`task-row depth-${Math.min(depth, 6)}`}>
    ${onPick ? html`<label class="pick"><input type="checkbox" checked=${picked} aria-label=${`Choose ${title.slice(0, 60)}`} onChange=${onPick} /></label>` : html`<span class="pick"></span>`}
    <button class="quiet twist" type="button" aria-expanded=${open} aria-label=${`Children of ${task.id}`} onClick=${onToggle}><${Icon} name=${open ? "down" : "right"} /></button>
    <${Badge} status=${task.status} />
    <span class="agent" title=${task.spec.agent}>${line(task.spec.agent, 60)}</span>
    <a href=${addressOf("task", task.id)} title=${task.id}>${title}
      ${labels.slice(0, SHOWN).map(([name, value]) => html` <span class="tag" key=${name}>${line(name, 20)}: ${line(value, 30)}</span>`)}${labels.length > SHOWN && html` <span class="tag">+${labels.length - SHOWN}</span>`}${task.usage && html` <span class="tag used">used ${usedText(task.usage)}</span>`}</a>
    <span class="parent">${task.parent_task_id && html`<a href=${addressOf("task", task.parent_task_id)} title=${`Its parent is ${task.parent_task_id}`}>…${task.parent_task_id.slice(-5)}</a>`}</span>
    <span class="number">${task.attempt}</span>
    <span class="number took">${task.started_at ? html`<${Took} from=${task.started_at} to=${task.settled_at} />` : "–"}</span>
    <${Age} at=${task.updated_at} />
  </div>`;
}
