// Checks an answer before it is sent, by a validator that interprets schemas instead of compiling them to code.
import { Validator } from "../../vendor/schemas.js";
import { Exact, stringify } from "../text/json.js";
import { literal } from "../text/literal.js";

const DRAFT = "2020-12";
const LONGEST = 10_000;
const MOST = 20;
// Errors that only repeat that a nested value is invalid.
const CONTAINERS = new Set(["properties", "items", "prefixItems", "additionalProperties", "$ref", "allOf", "if", "then", "else", "dependentSchemas"]);
// A part of these that is left out could turn the whole around.
const TURNING = new Set(["oneOf", "anyOf", "not", "if", "contains", "dependentSchemas", "patternProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems"]);
const DATA = new Set(["enum", "const", "default", "examples"]);

/** Returns what the schema says against the value: [{path: [...], message}]. What cannot be checked here is left to the server. */
export function complaints(schema, value) {
  try {
    const checked = stringify(value).length <= LONGEST ? checkable(schema) : null;
    return checked === null ? [] : found(rounded(checked), rounded(value)).slice(0, MOST);
  } catch {
    return [];
  }
}

/** Returns whether a value fits, as far as that can be said here. */
export const fits = (schema, value, root) => complaints({ $defs: root.$defs, definitions: root.definitions, ...schema }, value).length === 0;

function found(schema, value) {
  const { valid, errors } = new Validator(schema, DRAFT, false).validate(value);
  if (valid) return [];
  const leaves = errors.filter((error) => !CONTAINERS.has(error.keyword));
  const seen = new Map((leaves.length ? leaves : errors).map((error) => complaint(error, schema)).map((one) => [JSON.stringify(one), one]));
  return [...seen.values()];
}

/** Numbers as the validator knows them: only the server sees every digit. */
function rounded(value) {
  if (value instanceof Exact) return Number(value);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(rounded);
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined).map(([name, item]) => [name, rounded(item)]));
}

/** Patterns may take for ever here: those that could are left to the server. Null when that would change the rest. */
function checkable(schema) {
  let dropped = false;
  let turning = false;
  const copy = (part) => {
    if (Array.isArray(part)) return part.map(copy);
    if (part === null || typeof part !== "object" || part instanceof Exact) return part;
    return Object.fromEntries(Object.entries(part).filter(([name, value]) => {
      turning ||= TURNING.has(name);
      if (name !== "pattern" || typeof value !== "string" || isQuick(value)) return true;
      dropped = true;
      return false;
    }).map(([name, value]) => [name, DATA.has(name) ? value : copy(value)]));
  };
  const checked = copy(schema);
  return dropped && turning ? null : checked;
}

const isQuick = (pattern) => pattern.length <= 200 && !pattern.includes("(") && !/\\[1-9k]/.test(pattern) && (pattern.match(/[*+]|\{\d+,\}/g) ?? []).length <= 1;

function complaint({ keyword, keywordLocation, instanceLocation, error }, schema) {
  const path = steps(instanceLocation);
  const missing = keyword === "required" && /property "(.*)"\.$/s.exec(error);
  if (missing) return { path: [...path, missing[1]], message: "This is required." };
  const rule = steps(keywordLocation).reduce((part, step) => part?.[step], schema);
  return { path, message: rule === undefined ? error : (MESSAGES[keyword]?.(rule) ?? error) };
}

const steps = (location) => location.replace(/^#\/?/, "").split("/").filter(Boolean)
  .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));

const TYPES = { string: "text", integer: "a whole number", number: "a number", boolean: "yes or no", object: "an object", array: "a list", null: "null" };
const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

const MESSAGES = {
  type: (rule) => `This has to be ${[rule].flat().map((type) => TYPES[type] ?? type).join(" or ")}.`,
  minimum: (rule) => `This has to be at least ${rule}.`,
  maximum: (rule) => `This has to be at most ${rule}.`,
  exclusiveMinimum: (rule) => `This has to be more than ${rule}.`,
  exclusiveMaximum: (rule) => `This has to be less than ${rule}.`,
  multipleOf: (rule) => `This has to be a multiple of ${rule}.`,
  minLength: (rule) => `This needs at least ${count(rule, "character", "characters")}.`,
  maxLength: (rule) => `This may have ${count(rule, "character", "characters")} at most.`,
  pattern: (rule) => `This has to match ${rule}.`,
  format: (rule) => `This is no valid ${rule}.`,
  minItems: (rule) => `This needs at least ${count(rule, "item", "items")}.`,
  maxItems: (rule) => `This may have ${count(rule, "item", "items")} at most.`,
  uniqueItems: () => "No item may be there twice.",
  minProperties: (rule) => `This needs at least ${count(rule, "member", "members")}.`,
  maxProperties: (rule) => `This may have ${count(rule, "member", "members")} at most.`,
  enum: (rule) => `This has to be one of ${rule.slice(0, 10).map((value) => literal(value)).join(", ")}${rule.length > 10 ? ", …" : ""}.`,
  const: (rule) => `This has to be ${literal(rule)}.`,
  additionalProperties: () => "A member is not known to the schema.",
  oneOf: () => "This has to fit one of the alternatives, and only one.",
  anyOf: () => "This fits none of the alternatives.",
  not: () => "The schema forbids this value.",
};
