// The validator of JSON Schemas that needs no code generation.
export { Validator } from "@cfworker/json-schema";
