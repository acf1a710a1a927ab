// Reads a schema for a form: which kind of field stands for each part of it. Nothing of it becomes part of an answer.

const MOST_NODES = 400;
const DEEPEST = 14;
const MOST_OPTIONS = 200;
const MOST_SEVERAL = 30;
const MOST_KINDS = 20;
const MOST_REFERENCES = 20;
const DATA = new Set(["enum", "const", "default", "examples"]);
const WORDS = new Set(["title", "description", "type", "deprecated", "$comment"]);
// Members may depend on each other: the JSON says it better.
const ENTANGLED = ["if", "dependentSchemas", "dependencies", "patternProperties", "prefixItems"];
const PLAIN_PARTS = new Set([...WORDS, "properties", "required"]);

export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value) && Object.getPrototypeOf(value) === Object.prototype;

/** Returns whether a form can stand for the schema: it is bounded, refers to itself only, and has fields. */
export function formable(schema) {
  return isObject(schema) && isBounded(schema) && fieldOf(schema, schema).kind !== "json";
}

function isBounded(schema) {
  let nodes = 0;
  const fits = (part, depth) => {
    if (part === null || typeof part !== "object") return true;
    if (!Array.isArray(part) && (++nodes > MOST_NODES || depth > DEEPEST)) return false;
    if (typeof part.$ref === "string" && !part.$ref.startsWith("#/") && part.$ref !== "#") return false;
    return Object.entries(part).every(([name, value]) => !name.startsWith("$dynamic") && name !== "$anchor" && (DATA.has(name) || fits(value, depth + 1)));
  };
  return fits(schema, 0);
}

/** Returns the schema with its references followed and its plain `allOf` joined; null when that cannot be. */
function whole(schema, root) {
  let found = schema;
  for (let steps = 0; isObject(found) && typeof found.$ref === "string"; steps += 1) {
    const { $ref, ...others } = found;
    const target = steps < MOST_REFERENCES ? behind(root, $ref) : null;
    found = isObject(target) ? { ...target, ...others } : null;
  }
  return isObject(found) ? joined(found, root) : null;
}

function behind(root, reference) {
  const steps = reference.replace(/^#\/?/, "").split("/").filter(Boolean);
  return steps.map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((part, step) => (part !== null && typeof part === "object" && Object.hasOwn(part, step) ? part[step] : null), root);
}

function joined({ allOf, ...schema }, root) {
  if (allOf === undefined) return schema;
  const parts = Array.isArray(allOf) && allOf.length <= MOST_KINDS ? allOf.map((part) => (part.allOf ? null : whole(part, root))) : [null];
  if (!parts.every((part) => part && Object.keys(part).every((name) => PLAIN_PARTS.has(name)))) return null;
  const all = [schema, ...parts];
  return {
    ...Object.assign({}, ...parts), ...schema,
    properties: Object.assign({}, ...all.map((part) => part.properties)),
    required: all.flatMap((part) => part.required ?? []),
  };
}

/** Returns what a form draws for a schema: {kind, schema} and what the kind needs. */
export function fieldOf(schema, root) {
  const found = whole(schema, root);
  if (!found) return { kind: "json", schema: isObject(schema) ? schema : {} };
  const options = optionsOf(found);
  if (options) return { kind: options.length <= MOST_OPTIONS ? "options" : "json", schema: found, options };
  if (ENTANGLED.some((name) => name in found)) return { kind: "json", schema: found };
  const kinds = found.oneOf ?? found.anyOf ?? (Array.isArray(found.type) ? found.type.map((type) => ({ ...found, type, title: undefined })) : null);
  if (kinds) return ofKinds(found, kinds);
  return { schema: found, ...ofType(found, root) };
}

function ofKinds(schema, kinds) {
  const usable = !schema.properties && !schema.items && Array.isArray(kinds) && kinds.length <= MOST_KINDS && kinds.every(isObject);
  return usable ? { kind: "kinds", schema, kinds: kinds.map((one) => (one.type || one.$ref ? one : { ...one, type: schema.type })) } : { kind: "json", schema };
}

function ofType(schema, root) {
  const type = schema.type ?? (schema.properties ? "object" : schema.items ? "array" : undefined);
  if (type === "string") return { kind: "text" };
  if (type === "number" || type === "integer") return { kind: "number" };
  if (type === "object" && isObject(schema.properties) && Object.keys(schema.properties).length) return { kind: "object" };
  if (type !== "array" || !isObject(schema.items)) return { kind: "json" };
  const options = schema.uniqueItems && optionsOf(whole(schema.items, root) ?? {});
  return options && options.length <= MOST_SEVERAL ? { kind: "several", options } : { kind: "list" };
}

/** Returns the values that a schema lists, with the asker's words: [{value, title?, description?}]; null for any other. */
export function optionsOf(schema) {
  if (!isObject(schema)) return null;
  if ("const" in schema) return [{ value: schema.const }];
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => ({ value }));
  if (schema.type === "boolean") return [{ value: true }, { value: false }];
  if (schema.type === "null") return [{ value: null }];
  const listed = schema.oneOf ?? schema.anyOf;
  const isListed = (one) => isObject(one) && "const" in one && Object.keys(one).every((name) => name === "const" || WORDS.has(name));
  if (!Array.isArray(listed) || !listed.length || !listed.every(isListed)) return null;
  return listed.map(({ const: value, title, description }) => ({ value, title, description }));
}

const WORDED = new Set(["value", "label", "description", "danger"]);

/** Returns a choice as it is drawn: a value, or beside it the asker's words, and whether to ask once more. */
export function choiceOf(choice) {
  const worded = isObject(choice) && "value" in choice && typeof choice.label === "string" && Object.keys(choice).every((name) => WORDED.has(name));
  return worded ? { value: choice.value, title: choice.label, description: choice.description, danger: choice.danger === true } : { value: choice };
}

/** Returns whether the schema accepts any plain text. */
export const wantsText = (schema) => !schema || (isObject(schema) && schema.type === "string" && !schema.format && !["enum", "const", "oneOf", "anyOf", "$ref", "allOf"].some((name) => name in schema));

/** Returns the members that the schema names and the value does not have, as paths. */
export function leftOut(schema, value, root, path = "", found = []) {
  const field = fieldOf(schema, root);
  if (field.kind !== "object" || found.length >= MOST_OPTIONS) return found;
  for (const [name, part] of Object.entries(field.schema.properties)) {
    const own = path ? `${path}.${name}` : name;
    if (!isObject(value) || !Object.hasOwn(value, name)) found.push(own);
    else leftOut(part, value[name], root, own, found);
  }
  return found;
}
