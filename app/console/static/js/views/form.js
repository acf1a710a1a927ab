// A form for a schema. It shows the value that will be sent and nothing else: no field is filled in from the schema.
import { html, useEffect, useId, useMemo, useRef, useState } from "../../vendor/preact.js";
import { Asker } from "../parts/asker.js";
import { Exact } from "../text/json.js";
import { literal } from "../text/literal.js";
import { line, visible } from "../text/visible.js";
import { fieldOf, isObject } from "../form/schema.js";
import { JsonField, NumberField, OptionsField, TextField } from "./fields.js";
import { KindsField, ListField, ObjectField, SeveralField } from "./groups.js";

const FIELDS = { json: JsonField, number: NumberField, options: OptionsField, text: TextField };
const GROUPS = { kinds: KindsField, list: ListField, object: ObjectField, several: SeveralField };

/**
 * `value` is what was given so far, undefined for nothing; `onChange(value)` is called with every change. `complaints`
 * are shown at their fields; `broken` receives, by path, what cannot be read as a value.
 */
export function SchemaForm({ schema, value, complaints, broken, onChange }) {
  const drawn = useRef(new Set());
  const at = useMemo(() => Map.groupBy(complaints, ({ path }) => keyOf(path)), [complaints]);
  useEffect(() => {
    if (complaints.length) document.querySelector(".form [aria-invalid=true], .form .complaint")?.focus();
  }, [complaints]);
  const form = { root: schema, complaints: at, broken, drawn: drawn.current, Field };
  return html`<div class="form">
    <${Field} form=${form} schema=${schema} value=${value} path=${[]} required=${true} onChange=${onChange} />
    <${Others} complaints=${complaints} drawn=${drawn.current} />
  </div>`;
}

const keyOf = (path) => JSON.stringify(path.map(String));

/** Complaints about members that have no field. Drawn last, when all fields are known. */
function Others({ complaints, drawn }) {
  const others = complaints.filter(({ path }) => !drawn.has(keyOf(path)));
  if (!others.length) return null;
  return html`<ul class="trouble" role="alert">${others.map(({ path, message }) => html`<li key=${path + message}>${path.length > 0 && html`<b>${visible(path.join("."))}</b> `}${visible(message)}</li>`)}</ul>`;
}

/** One field. A value that it could not show stands as JSON. */
function Field({ form, schema, value, path, name, required, depth = 0, quiet = false, onChange }) {
  const field = useMemo(() => fieldOf(schema, form.root), [schema, form.root]);
  const [kind] = useState(() => (value === undefined || suits(field, value) ? field.kind : "json"));
  const key = keyOf(path);
  useEffect(() => () => (form.drawn.delete(key), form.broken.delete(key)), [key]);
  form.drawn.add(key);
  const id = useId();
  const complaints = (!quiet && form.complaints.get(key)) || [];
  const breaks = (message) => (message ? form.broken.set(key, { path, message }) : form.broken.delete(key));
  const props = { form, field, value, path, name, required, depth, id, breaks, onChange, invalid: complaints.length > 0 };
  const heads = html`<${Head} name=${name} schema=${field.schema} required=${required} />`;
  const told = complaints.map(({ message }) => html`<p class="complaint" role="alert" tabindex="-1" key=${message}>${visible(message)}</p>`);
  if (GROUPS[kind] || kind === "options")
    return html`<fieldset class=${`member ${kind}`}><legend>${heads}</legend><${About} id=${`${id}-about`} schema=${field.schema} kind=${kind} />${told}<${GROUPS[kind] ?? FIELDS[kind]} ...${props} /></fieldset>`;
  return html`<div class=${`member ${kind}`}><label for=${id}>${heads}</label><${About} id=${`${id}-about`} schema=${field.schema} kind=${kind} /><${FIELDS[kind]} ...${props} />${told}</div>`;
}

function suits({ kind, options }, value) {
  const listed = (one) => options.some((option) => literal(option.value) === literal(one));
  if (kind === "options") return listed(value);
  if (kind === "several") return Array.isArray(value) && value.every(listed);
  if (kind === "list") return Array.isArray(value);
  if (kind === "object") return isObject(value);
  if (kind === "number") return typeof value === "number" || value instanceof Exact;
  return kind !== "text" || typeof value === "string";
}

const same = (one, other) => String(one).replace(/[^\p{L}\p{N}]/gu, "").toLowerCase() === String(other).replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();

const NAME = /^[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)*$/;

/** A member's name in words: `retry_after` and `retryAfter` are "Retry after". One that is no plain name stays. */
function humanised(name) {
  if (!NAME.test(name)) return visible(name);
  const words = name.replace(/[_-]+/g, " ").replace(/([a-z0-9])([A-Z][a-z])/g, (_, before, next) => `${before} ${next.toLowerCase()}`);
  return words[0].toUpperCase() + words.slice(1);
}

/** The name that is sent, in words, and beside it the asker's title. */
function Head({ name, schema, required }) {
  const title = name !== undefined && same(name, schema.title) ? undefined : schema.title;
  return html`<span class="name" title=${name === undefined ? undefined : visible(String(name))}>${name === undefined ? "Your answer" : humanised(String(name))}</span>
    ${!required && html` <span class="hint">optional</span>`}${title && html` <${Asker} words=${title} />`}`;
}

function About({ id, schema, kind }) {
  const rules = kind === "options" || kind === "kinds" ? [] : rulesOf(schema);
  if (!rules.length && !schema.description && !("default" in schema)) return null;
  return html`<div class="about" id=${id}>${rules.length > 0 && html`<p class="hint">${rules.join(", ")}</p>`}
    ${schema.description && html`<p><${Asker} words=${schema.description} /></p>`}
    ${"default" in schema && html`<p class="asker"><span class="tag">asker</span> suggests <code>${line(literal(schema.default), 200)}</code></p>`}</div>`;
}

const FORMATS = { "date-time": "an instant, as 2026-01-31T12:00:00Z", date: "a day, as 2026-01-31", time: "a time, as 12:00:00Z", email: "an e-mail address", uri: "an address, as https://…" };

/** What a value has to be, in words. */
function rulesOf({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength, minItems, maxItems, format, pattern }) {
  const range = (low, high, unit = "") => {
    const units = unit && ` ${unit}${(high ?? low) === 1 ? "" : "s"}`;
    return low !== undefined && high !== undefined ? `${low} to ${high}${units}` : low !== undefined ? `at least ${low}${units}` : high !== undefined ? `at most ${high}${units}` : "";
  };
  return [
    type === "integer" ? "a whole number" : "",
    range(minimum, maximum),
    exclusiveMinimum === undefined ? "" : `more than ${exclusiveMinimum}`,
    exclusiveMaximum === undefined ? "" : `less than ${exclusiveMaximum}`,
    multipleOf === undefined ? "" : `a multiple of ${multipleOf}`,
    range(minLength, maxLength, "character"),
    range(minItems, maxItems, "item"),
    typeof format === "string" ? (FORMATS[format] ?? visible(format)) : "",
    typeof pattern === "string" ? `matches ${visible(pattern)}` : "",
  ].filter(Boolean);
}
