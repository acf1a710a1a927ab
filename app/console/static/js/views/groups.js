// The fields of a form that hold others: objects, lists, several of listed values, and alternatives.
import { html, useRef, useState } from "../../vendor/preact.js";
import { Asker, Word } from "../parts/asker.js";
import { fieldOf, optionsOf } from "../form/schema.js";
import { fits } from "../form/validator.js";
import { literal, wordsOf } from "../text/literal.js";
import { line, visible } from "../text/visible.js";
import { JsonField } from "./fields.js";

const OPEN_DEPTH = 3;

/** The members of an object. One that is optional, or deep, is added first. */
export function ObjectField({ form, field: { schema }, value, path, name, required, depth, onChange }) {
  const isOpen = value !== undefined || (required && depth < OPEN_DEPTH);
  if (!isOpen) return html`<button type="button" class="small" onClick=${() => onChange({})}>Add ${visible(String(name ?? "it"))}</button>`;
  const change = (member, next) => {
    const { [member]: _, ...others } = value ?? {};
    onChange(next === undefined ? others : inOrder(schema.properties, { ...others, [member]: next }));
  };
  const unknown = Object.keys(value ?? {}).filter((member) => !Object.hasOwn(schema.properties, member));
  return html`
    ${Object.entries(schema.properties).map(([member, part]) => html`<${form.Field} key=${member} form=${form} schema=${part} name=${member} path=${[...path, member]} depth=${depth + 1}
      value=${value && Object.hasOwn(value, member) ? value[member] : undefined} required=${schema.required?.includes(member) ?? false} onChange=${(next) => change(member, next)} />`)}
    ${unknown.map((member) => html`<p key=${member} class="hint">Also <b>${visible(member)}</b> <code>${line(literal(value[member]), 200)}</code> <button type="button" class="link" onClick=${() => change(member, undefined)}>Leave it out</button></p>`)}
    ${value !== undefined && !required && html`<button type="button" class="link" onClick=${() => onChange(undefined)}>Leave ${visible(String(name ?? "it"))} out</button>`}`;
}

/** The members in the order of the schema, behind those that it does not name. */
function inOrder(properties, value) {
  const named = Object.keys(properties).filter((name) => Object.hasOwn(value, name));
  const others = Object.keys(value).filter((name) => !Object.hasOwn(properties, name));
  return Object.fromEntries([...named, ...others].map((name) => [name, value[name]]));
}

/** The items of a list. An item that is still empty is not part of the value. */
export function ListField({ form, field: { schema }, value, path, required, depth, onChange }) {
  const count = useRef(0);
  const [rows, setRows] = useState(() => (value ?? []).map((item) => ({ id: ++count.current, item })));
  const given = (some) => some.filter((row) => row.item !== undefined).map((row) => row.item);
  const change = (next) => {
    setRows(next);
    onChange(given(next));
  };
  const leaveOut = () => (setRows([]), onChange(undefined));
  const add = () => {
    const isObject = fieldOf(schema.items, form.root).kind === "object";
    const next = [...rows, { id: ++count.current, item: isObject ? {} : undefined }];
    if (isObject) change(next);
    else setRows(next);
  };
  let place = -1;
  return html`<ol class="items">${rows.map((row, index) => {
      if (row.item !== undefined) place += 1;
      return html`<li key=${row.id}><${form.Field} form=${form} schema=${schema.items} name=${index + 1} path=${[...path, row.item === undefined ? `new ${row.id}` : place]} depth=${depth + 1} value=${row.item} required=${true}
        onChange=${(item) => change(rows.map((one) => (one.id === row.id ? { ...one, item } : one)))} />
        <button type="button" class="small" aria-label=${`Remove item ${index + 1}`} onClick=${() => change(rows.filter((one) => one.id !== row.id))}>Remove</button></li>`;
    })}</ol>
    <div class="buttons"><button type="button" class="small" onClick=${add}>Add an item</button>
      ${value === undefined && required && !(schema.minItems > 0) && html`<button type="button" class="link" onClick=${() => onChange([])}>Send an empty list</button>`}
      ${value !== undefined && html`<button type="button" class="link" onClick=${leaveOut}>Leave the list out</button>`}</div>`;
}

/** Any of listed values, in the order of the list. */
export function SeveralField({ field: { options }, value, onChange }) {
  const has = (option) => value?.some((one) => literal(one) === literal(option.value)) ?? false;
  const turn = (option) => onChange(options.filter((one) => (one === option ? !has(one) : has(one))).map((one) => one.value));
  return html`<div class="options">${options.map((option, index) => html`<label class="check" key=${index}><input type="checkbox" checked=${has(option)} onChange=${() => turn(option)} /><${Word} value=${option.value} /><${Asker} words=${option.title} /></label>`)}
    ${value !== undefined && html`<button type="button" class="link" onClick=${() => onChange(undefined)}>Leave the list out</button>`}</div>`;
}

/** Alternatives: which one is meant is chosen first, and gives no value by itself. */
export function KindsField(props) {
  const { form, field, value, id, path, depth, onChange } = props;
  const [chosen, setChosen] = useState(() => (value === undefined ? -1 : field.kinds.findIndex((kind) => fits(kind, value, form.root))));
  const [asJson] = useState(value !== undefined && chosen < 0);
  const choose = (event) => {
    setChosen(Number(event.target.value));
    onChange(undefined);
  };
  const nested = chosen >= 0 && html`<${form.Field} key=${chosen} form=${form} schema=${field.kinds[chosen]} path=${path} depth=${depth} name="value" value=${value} required=${true} quiet=${true} onChange=${onChange} />`;
  return html`<label class="kind">Kind<select value=${chosen} onChange=${choose}><option value="-1">– nothing –</option>
      ${field.kinds.map((kind, index) => html`<option key=${index} value=${index}>${described(kind, form.root)}</option>`)}</select></label>
    ${nested || (asJson && html`<${JsonField} ...${props} id=${`${id}-json`} />`)}`;
}

const KINDS = { text: "text", number: "number", list: "list", several: "list", json: "JSON", kinds: "one of several" };

/** Says what the value would be, and what the asker calls it. */
function described(schema, root) {
  const { kind, schema: found } = fieldOf(schema, root);
  const options = optionsOf(found);
  const what = options ? options.slice(0, 5).map(({ value }) => wordsOf(value)).join(" or ") : kind === "object" ? `object of ${Object.keys(found.properties).join(", ")}` : KINDS[kind];
  return line(what, 200) + (found.title ? ` — asker: “${line(found.title, 100)}”` : "");
}
