// A form generated from the question's schema. Loaded with the first question that has a schema.
import { html, useErrorBoundary, useRef } from "../../vendor/preact.js";
import { Form } from "../../vendor/forms.js";
import { NumberField, marked, unmarked } from "../form/numbers.js";
import { templates } from "../form/templates.js";
import { validator } from "../form/validator.js";

const FIELDS = { NumberField };

/** Calls `onChange(value)` on every change and `onSend(value)` with a valid value; `sender` receives the submit function. */
export function SchemaForm({ schema, value, onChange, onSend, sender, onFault }) {
  const form = useRef(null);
  const touched = useRef(false);
  const touch = () => (touched.current = true);
  const [fault] = useErrorBoundary(onFault);
  sender.current = () => form.current?.submit();
  if (fault) return null;
  return html`<div onPointerDown=${touch} onKeyDown=${touch} onInputCapture=${touch}><${Form}
    ref=${form} schema=${schema} validator=${validator} templates=${templates} formData=${marked(value)} fields=${FIELDS} idPrefix="answer"
    showErrorList="bottom" noHtml5Validate=${true} focusOnFirstError=${true} liveValidate=${false}
    onChange=${(event) => touched.current && onChange(unmarked(event.formData))} onSubmit=${(event) => onSend(unmarked(event.formData))} onError=${() => {}}
  /></div>`;
}
