// Forms from a JSON Schema, and the validator that needs no code generation.
export { Validator } from "@cfworker/json-schema";
export { default as Form } from "@rjsf/core";
export { toErrorList, toErrorSchema, validationDataMerge, withIdRefPrefix } from "@rjsf/utils";
