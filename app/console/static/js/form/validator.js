// Validation for the form library, by a validator that interprets schemas instead of compiling them to code.
import { Validator, toErrorSchema } from "../../vendor/forms.js";
import { rounded } from "./numbers.js";

const DRAFT = "2020-12";
// Errors that only repeat that a nested value is invalid.
const CONTAINERS = new Set(["properties", "items", "prefixItems", "additionalProperties", "$ref", "allOf", "if", "then", "else", "dependentSchemas"]);

/** Returns the violations of the schema: [{path: [...], message}]. Throws for an unusable schema. */
export function complaints(schema, value) {
  const { valid, errors } = new Validator(rounded(schema), DRAFT, false).validate(rounded(value));
  if (valid) return [];
  const leaves = errors.filter((error) => !CONTAINERS.has(error.keyword));
  return (leaves.length ? leaves : errors).map(complaint);
}

function complaint({ keyword, instanceLocation, error }) {
  const path = instanceLocation.replace(/^#\/?/, "").split("/").filter(Boolean)
    .map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
  const missing = keyword === "required" && /property "(.*)"\.$/s.exec(error);
  return missing ? { path: [...path, missing[1]], message: "is required" } : { path, message: error };
}

/** Returns a violation in one line. */
export const told = ({ path, message }) => (path.length ? `${path.join(".")}: ${message}` : message);

function listed(schema, value) {
  return complaints(schema, value).map(({ path, message }) => ({
    property: `.${path.join(".")}`,
    message,
    name: "",
    params: {},
    stack: told({ path, message }),
    schemaPath: "",
  }));
}

/** The validator interface of the form library. */
export const validator = {
  validateFormData(value, schema) {
    const errors = listed(schema, value);
    return { errors, errorSchema: toErrorSchema(errors) };
  },
  rawValidation(schema, value) {
    return { errors: listed(schema, value) };
  },
  isValid(schema, value, root) {
    if (typeof schema !== "object" || value === undefined) return schema !== false;
    const whole = { ...schema, $defs: root?.$defs ?? {}, definitions: root?.definitions ?? {} };
    try {
      return new Validator(rounded(whole), DRAFT).validate(rounded(value)).valid;
    } catch {
      return false;
    }
  },
};
