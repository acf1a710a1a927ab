// Numbers in a form: the library copies objects and rounds numbers, so an `Exact` goes through it as a marked text.
import { html } from "../../vendor/preact.js";
import { Exact, numberOf } from "../text/json.js";

/** No text that a person types begins so. */
const MARK = "\u0000";

const isMarked = (value) => typeof value === "string" && value.startsWith(MARK);

function mapped(value, change) {
  const changed = change(value);
  if (changed !== value || value === null || typeof value !== "object") return changed;
  if (Array.isArray(value)) return value.map((item) => mapped(item, change));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapped(item, change)]));
}

/** Returns a value for the library. */
export const marked = (value) => mapped(value, (one) => (one instanceof Exact ? MARK + one.text : one));

/** Returns a value of the library as it is sent. */
export const unmarked = (value) => mapped(value, (one) => (isMarked(one) ? new Exact(one.slice(1)) : one));

/** Returns a value for the validator, which rounds: only the server sees every digit. */
export const rounded = (value) => mapped(value, (one) => (isMarked(one) ? Number(one.slice(1)) : one instanceof Exact ? Number(one) : one));

/** The library's field of a number, which keeps the digits that were typed. */
export function NumberField(props) {
  const { StringField } = props.registry.fields;
  const change = (value, ...more) => props.onChange(typeof value === "string" ? read(value) : value, ...more);
  const shown = isMarked(props.formData) ? props.formData.slice(1) : props.formData;
  return html`<${StringField} ...${props} formData=${shown} onChange=${change} />`;
}

function read(text) {
  if (text === "" || isMarked(text)) return text || undefined;
  const found = numberOf(text);
  if (found !== undefined) return marked(found);
  return text.endsWith(".") || Number.isNaN(Number(text)) ? text : Number(text);
}
