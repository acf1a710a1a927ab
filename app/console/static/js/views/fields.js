// The fields of a form that stand for one value each. An empty field leaves its member out.
import { html, useId, useState } from "../../vendor/preact.js";
import { Asker, Word } from "../parts/asker.js";
import { numberOf, parse, stringify } from "../text/json.js";
import { literal, wordsOf } from "../text/literal.js";
import { line, visible } from "../text/visible.js";

const SHORT = 200;
const MOST_RADIOS = 6;

/** A line for short texts, an area with a counter for others. */
export function TextField({ field: { schema }, id, value = "", invalid, onChange }) {
  const props = { id, value, dir: "auto", "aria-invalid": invalid, "aria-describedby": `${id}-about`, onInput: (event) => onChange(event.target.value || undefined) };
  if (schema.maxLength <= SHORT || typeof schema.format === "string") return html`<input ...${props} />`;
  const length = [...value].length;
  return html`<textarea rows="2" ...${props}></textarea>${schema.maxLength !== undefined && html`<span class="hint number">${length.toLocaleString()} of ${schema.maxLength.toLocaleString()}</span>`}`;
}

/** Keeps the digits that were typed; what is no number is no value. */
export function NumberField(props) {
  return html`<${Typed} ...${props} area=${false} written=${(value) => String(value)} read=${(text) => numberOf(text.trim())} complaint="This is no number." />`;
}

/** Any value, as JSON. */
export function JsonField(props) {
  return html`<${Typed} ...${props} area=${true} written=${(value) => stringify(value, 2)} read=${parsed} complaint="This is not JSON." />
    <details><summary>Its schema</summary><pre class="mono">${visible(stringify(props.field.schema, 2).slice(0, 20_000))}</pre></details>`;
}

function parsed(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** A field whose text is read as a value; the text stays as it was typed. */
function Typed({ area, written, read, complaint, id, value, invalid, breaks, onChange }) {
  const [text, setText] = useState(value === undefined ? "" : written(value));
  const [wrong, setWrong] = useState(false);
  const typed = (event) => {
    const next = event.target.value;
    const found = next.trim() ? read(next) : undefined;
    const bad = Boolean(next.trim()) && found === undefined;
    setText(next);
    setWrong(bad);
    breaks(bad ? complaint : "");
    onChange(found);
  };
  const props = { id, value: text, "aria-invalid": invalid || wrong, "aria-describedby": `${id}-about`, onInput: typed };
  return html`${area ? html`<textarea rows="3" class="mono" spellcheck=${false} placeholder="JSON" ...${props}></textarea>` : html`<input inputmode="decimal" ...${props} />`}
    ${wrong && html`<span class="complaint">${complaint}</span>`}`;
}

/** One of listed values: buttons for a few, a list for many. None is chosen before a person does. */
export function OptionsField({ field: { schema, options }, id, value, invalid, onChange }) {
  const group = useId();
  const given = value === undefined ? -1 : options.findIndex((option) => literal(option.value) === literal(value));
  if (options.length > MOST_RADIOS) {
    const labelOf = ({ value, title }) => line(wordsOf(value), 300) + (title ? ` — asker: “${line(title, 100)}”` : "");
    return html`<select id=${id} aria-label=${line(String(schema.title ?? "Value"), 100)} aria-invalid=${invalid} value=${given} onChange=${(event) => onChange(options[event.target.value]?.value)}>
      <option value="-1">– nothing –</option>${options.map((option, index) => html`<option key=${index} value=${index}>${labelOf(option)}</option>`)}</select>`;
  }
  return html`<div class="options">
    ${options.map((option, index) => html`<label class="check" key=${index}><input type="radio" name=${group} aria-invalid=${invalid} checked=${index === given} onChange=${() => onChange(option.value)} /><${Word} value=${option.value} /><${Asker} words=${option.title} /><${Asker} words=${option.description} /></label>`)}
    ${given >= 0 && html`<button type="button" class="link" onClick=${() => onChange(undefined)}>Leave it out</button>`}
  </div>`;
}
