// The keyboard shortcuts, shown by `?`.
import { html } from "../../vendor/preact.js";
import { Dialog } from "../parts/dialog.js";
import { helpShown } from "../state/keys.js";

const KEYS = [
  ["Everywhere", [["g i", "inbox"], ["g t", "tasks"], ["g o", "overview"], ["g w", "workers"], ["g e", "events"], ["g s", "sessions"], ["g h", "webhooks"], ["\\", "theme"], ["?", "these keys"]]],
  ["Lists", [["j k", "down, up"], ["Enter", "select, open"], ["l h", "open and close children"], ["x", "choose a task"], ["/", "filter"], ["r", "read anew"]]],
  ["A question", [["1 … 9", "choose that answer"], ["u", "undo, while it has not left"], ["a", "go to the answer"], ["Ctrl Enter", "send what is written"], ["Esc", "leave the field"], ["c", "say that you are on it, or not"], ["e", "hand it over"], ["o", "open its task"]]],
  ["A task, the events", [["Esc", "back to the list"], ["p", "pause the events"]]],
];

export function Help() {
  const close = () => (helpShown.value = false);
  return html`<${Dialog} title="Keys" onClose=${close}>
    <div class="keys">
      ${KEYS.map(([title, keys]) => html`<section key=${title}><h3>${title}</h3><dl>
        ${keys.map(([key, what]) => html`<div key=${key}><dt>${key.split(" ").map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd></div>`)}
      </dl></section>`)}
    </div>
    <div class="buttons"><button type="button" onClick=${close}>Close</button></div>
  <//>`;
}
