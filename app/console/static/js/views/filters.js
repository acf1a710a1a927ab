// The filters of the list of tasks.
import { html } from "../../vendor/preact.js";
import { NONE, filters, setFilters } from "../state/filters.js";

const STATUSES = ["pending", "running", "suspended", "pass", "blocked", "cancelled"];

export function Filters() {
  const { status, agent, label, id } = filters.value;
  const typed = (name) => (event) => setFilters({ [name]: event.target.value });
  const isNarrowed = status || agent || label || id;
  return html`<form class="filters" role="search" aria-label="Tasks" onSubmit=${(event) => event.preventDefault()}>
    <label><span class="unseen">Id or its beginning</span><input id="by-id" type="search" placeholder="Id begins with…" spellcheck=${false} value=${id} onInput=${typed("id")} /></label>
    <label><span class="unseen">Status</span><select value=${status} onChange=${typed("status")}>
      <option value="">Any status</option>${STATUSES.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}</select></label>
    <label><span class="unseen">Agent</span><input type="search" placeholder="Agent" value=${agent} onInput=${typed("agent")} /></label>
    <label><span class="unseen">Label, as key:value</span><input type="search" placeholder="Label key:value" value=${label} onInput=${typed("label")} /></label>
    ${isNarrowed && html`<button type="button" class="small" onClick=${() => setFilters(NONE)}>All tasks</button>`}
  </form>`;
}
