// Prepares a schema for a form: bounded, without patterns that could hang the browser, with visible text only.
import { visible } from "../text/visible.js";
import { Exact, stringify } from "../text/json.js";
import { marked, unmarked } from "./numbers.js";

const MOST_NODES = 400;
const DEEPEST = 14;
const WORDS = new Set(["title", "description", "$comment"]);
const NAMED = new Set(["properties", "$defs", "definitions", "dependentSchemas"]);
// Patterns may backtrack exponentially; only the server validates them.
const LEFT_OUT = new Set(["pattern", "patternProperties", "propertyNames", "$schema", "$id", "$comment", "readOnly"]);
const DATA = new Set(["enum", "const", "default", "examples"]);

class TooMuch extends Error {}

/** Returns the schema for a form, or null when a form cannot represent it. */
export function formable(schema) {
  if (!schema || typeof schema !== "object") return null;
  try {
    const shown = copied(schema, { nodes: 0 }, 0);
    return shown.title ? shown : { ...shown, title: "Answer" };
  } catch (error) {
    if (error instanceof TooMuch) return null;
    throw error;
  }
}

function copied(schema, count, depth) {
  if (Array.isArray(schema)) return schema.map((one) => copied(one, count, depth + 1));
  if (schema instanceof Exact) return Number(schema);
  if (!schema || typeof schema !== "object") return schema;
  count.nodes += 1;
  if (count.nodes > MOST_NODES || depth > DEEPEST) throw new TooMuch();
  const copy = {};
  for (const [name, value] of Object.entries(schema)) {
    if (name === "__proto__" || LEFT_OUT.has(name)) continue;
    if (name === "$ref" && !String(value).startsWith("#/")) throw new TooMuch();
    if (name.startsWith("$dynamic") || name === "$anchor") throw new TooMuch();
    if (DATA.has(name)) copy[name] = marked(value);
    else if (WORDS.has(name)) copy[name] = visible(String(value));
    else if (NAMED.has(name)) copy[name] = named(value, count, depth, name === "properties");
    else copy[name] = copied(value, count, depth + 1);
  }
  return explained(schema, choosable(copy));
}

function named(schemas, count, depth, titled) {
  const copies = {};
  for (const [name, schema] of Object.entries(schemas ?? {})) {
    if (name === "__proto__") throw new TooMuch();
    const copy = copied(schema, count, depth + 1);
    copies[name] = titled && copy && typeof copy === "object" && !copy.title && !copy.$ref ? { ...copy, title: visible(name) } : copy;
  }
  return copies;
}

/** Adds visible labels to an enumeration whose values contain invisible characters. */
function choosable(schema) {
  const values = schema.enum;
  if (!Array.isArray(values) || !values.some((value) => typeof value === "string" && visible(value) !== value)) return schema;
  const { enum: _, ...others } = schema;
  const typed = unmarked(values).every((value) => typeof value === "string") ? { type: "string" } : {};
  return { ...typed, ...others, oneOf: values.map((value) => ({ const: value, title: labelOf(unmarked(value)) })) };
}

const labelOf = (value) => (typeof value === "string" ? visible(value) : stringify(value));

function explained(schema, copy) {
  if (typeof schema.pattern !== "string") return copy;
  const rule = `Must match ${visible(schema.pattern)}`;
  return { ...copy, description: copy.description ? `${copy.description} ${rule}` : rule };
}

/** Returns the choices of a schema that only enumerates values, null for any other. */
export function listedAnswers(schema) {
  if (!schema || typeof schema !== "object") return null;
  if ("const" in schema) return [schema.const];
  if (Array.isArray(schema.enum) && schema.enum.length <= 50) return schema.enum;
  if (schema.type === "boolean") return [true, false];
  if (schema.type === "null") return [null];
  const options = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(options) && options.length && options.every((option) => option && typeof option === "object" && "const" in option && Object.keys(option).every((name) => ["const", "title", "description"].includes(name))))
    return options.map((option) => option.const);
  return null;
}

/** Returns whether the schema accepts any plain text. */
export const wantsText = (schema) => !schema || (schema.type === "string" && !schema.enum && !schema.format && !("const" in schema));
