// An id: short and quiet, whole on hover, copied by a click.
import { html } from "../../vendor/preact.js";
import { notify } from "../state/notices.js";

const SHORT = 6;

/** The kind's letter and the last characters, by which people tell ids apart. */
export const shortId = (id) => (id.length > 12 && id[1] === "-" ? `${id.slice(0, 2)}…${id.slice(-SHORT)}` : id);

export function Id({ id, what = "id" }) {
  const copy = () => navigator.clipboard?.writeText(id).then(() => notify(`Copied ${shortId(id)}.`, "good"), () => notify("The browser refused to copy it.", "bad"));
  return html`<button type="button" class="id" title=${`${id}: click to copy`} onClick=${copy}><span class="unseen">Copy the ${what} </span>${shortId(id)}</button>`;
}
