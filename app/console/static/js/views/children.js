// The descendants of a task, as a tree with expandable branches.
import { html, useState } from "../../vendor/preact.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { addressOf } from "../state/route.js";
import { childrenOf } from "../state/tasks.js";
import { usedText } from "../text/usage.js";
import { line } from "../text/visible.js";

export function Children({ facts }) {
  const { items, more } = facts.children;
  if (!items.length) return null;
  return html`<section><h2>Children</h2><${Branch} tasks=${items} more=${more} parent=${facts.task.id} /></section>`;
}

function Branch({ tasks, more, parent }) {
  return html`<ul class="tree">${tasks.map((task) => html`<${Leaf} key=${task.id} task=${task} />`)}
    ${more && html`<li class="hint">Only the newest ${tasks.length} children of ${parent} are shown.</li>`}</ul>`;
}

function Leaf({ task }) {
  const [below, setBelow] = useState(null);
  const toggle = () => (below ? setBelow(null) : childrenOf(task.id).then(setBelow, () => {}));
  return html`<li><div class="leaf"><button class="quiet twist" type="button" aria-expanded=${Boolean(below)} aria-label=${`Children of ${task.id}`} onClick=${toggle}><${Icon} name=${below ? "down" : "right"} /></button>
    <${Badge} status=${task.status} /><span><a href=${addressOf("task", task.id)}>${line(task.spec.agent, 40)}: ${line(task.spec.initial_directive, 100)}</a>${task.usage && html` <span class="hint used">used ${usedText(task.usage)}</span>`}</span></div>
    ${below && (below.items.length ? html`<${Branch} tasks=${below.items} more=${below.more} parent=${task.id} />` : html`<p class="hint">No children.</p>`)}</li>`;
}
