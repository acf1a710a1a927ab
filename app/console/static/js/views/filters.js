// The filter of the list of tasks: a search, a range of time, an order, chips for agent and labels, and a tab for each status.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { NONE, RANGES, addLabel, filters, isNarrowed, setFilters, spelled } from "../state/filters.js";
import { addressOf } from "../state/route.js";
import { counts } from "../state/tasks.js";
import { line } from "../text/visible.js";

const STATUSES = ["pending", "running", "suspended", "blocked", "pass", "cancelled"];
const TYPING_MS = 250;

export function Filters() {
  const { range, from, until, sort } = filters.value;
  const [own, setOwn] = useState(Boolean(from || until));
  const choose = (event) => {
    setOwn(event.target.value === "own");
    setFilters({ range: event.target.value === "own" ? "" : event.target.value, from: "", until: "" });
  };
  return html`<form class="filters tasks" role="search" aria-label="Tasks" onSubmit=${(event) => event.preventDefault()}>
      <${Search} />
      <${Adder} label="Agent" placeholder="Agent" onAdd=${(agent) => setFilters({ agent })} />
      <${Adder} label="Label, as key:value" placeholder="Label key:value" pattern=".+:.*" onAdd=${addLabel} />
      <label><span class="unseen">Created</span><select value=${own ? "own" : range} onChange=${choose}>
        <option value="">Any time</option>${Object.entries(RANGES).map(([name, [words]]) => html`<option key=${name} value=${name}>In ${words}</option>`)}<option value="own">Between…</option></select></label>
      <label><span class="unseen">Order</span><select value=${sort} onChange=${(event) => setFilters({ sort: event.target.value })}><option value="">Newest first</option><option value="oldest">Oldest first</option><option value="longest">Longest first</option><option value="shortest">Shortest first</option></select></label>
      ${own && html`<label class="date">From<input type="datetime-local" value=${local(from)} onChange=${(event) => setFilters({ from: event.target.value })} /></label>
        <label class="date">Until<input type="datetime-local" value=${local(until)} onChange=${(event) => setFilters({ until: event.target.value })} /></label>`}
      <${Chips} />
    </form>
    <${Tabs} />`;
}

const local = (text) => (text ? text.slice(0, 16) : "");

/** The search, sent when typing pauses or the field is left. */
function Search() {
  const { q } = filters.value;
  const [text, setText] = useState(q);
  useEffect(() => setText(q), [q]);
  const send = () => text.trim() !== filters.value.q && setFilters({ q: text.trim() });
  useEffect(() => {
    const timer = setTimeout(send, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<label class="search"><span class="unseen">Search</span><${Icon} name="search" /><input id="search" type="search" maxlength="200" spellcheck=${false} value=${text}
    placeholder="Search directive, result, agent, labels, or an id" onInput=${(event) => setText(event.target.value)} onBlur=${send} /></label>`;
}

/** A field whose text becomes a chip with Enter. */
function Adder({ label, placeholder, pattern, onAdd }) {
  const [text, setText] = useState("");
  const add = (event) => {
    if (!text.trim() || !event.target.checkValidity()) return;
    onAdd(text.trim());
    setText("");
  };
  return html`<label><span class="unseen">${label}</span><input type="text" maxlength="401" placeholder=${placeholder} pattern=${pattern} value=${text} spellcheck=${false}
    onInput=${(event) => setText(event.target.value)} onChange=${add} onKeyDown=${(event) => event.key === "Enter" && add(event)} /></label>`;
}

function Chips() {
  const { agent, labels, parent, session } = filters.value;
  const chips = [
    agent && ["agent", agent, () => setFilters({ agent: "" })],
    parent && ["below", parent, () => setFilters({ parent: "" })],
    session && ["session", session, () => setFilters({ session: "" })],
    ...labels.map((label) => ["label", label, () => setFilters({ labels: labels.filter((one) => one !== label) })]),
  ].filter(Boolean);
  if (!chips.length && !isNarrowed.value) return null;
  return html`<div class="chips" role="group" aria-label="Filter">${chips.map(([kind, value, remove]) => html`<button key=${kind + value} type="button" class="small chip" aria-label=${`Remove ${kind} ${value}`} onClick=${remove}><span class="hint">${kind}</span> ${line(value, 60)}<${Icon} name="close" /></button>`)}
    ${isNarrowed.value && html`<button type="button" class="small" onClick=${() => setFilters(NONE)}>All tasks</button>`}</div>`;
}

function Tabs() {
  const { status } = filters.value;
  const found = counts.value;
  const total = found && Object.values(found).reduce((sum, count) => sum + count, 0);
  const tab = (value, label, count) => html`<a key=${label} class=${`tab ${value}`} href=${addressOf("tasks", "", spelled({ ...filters.value, status: value }))} aria-current=${status === value ? "true" : undefined}>${label} <span class="number">${found ? count.toLocaleString() : ""}</span></a>`;
  return html`<nav class="tabs" aria-label="Status">${tab("", "all", total ?? 0)}${STATUSES.map((one) => tab(one, one, found?.[one] ?? 0))}</nav>`;
}
