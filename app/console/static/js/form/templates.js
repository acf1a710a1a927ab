// Templates of the form library: labelled buttons, and rows that wrap.
import { html } from "../../vendor/preact.js";

const button = (label, kind) => ({ id, onClick, disabled }) =>
  html`<button id=${id} type="button" class=${kind} disabled=${disabled} onClick=${onClick}>${label}</button>`;

function ArrayFieldItemTemplate({ children, className, buttonsProps, hasToolbar, registry }) {
  const { ArrayFieldItemButtonsTemplate: Buttons } = registry.templates;
  return html`<div class=${`array-item ${className}`}>
    <div class="array-item-field">${children}</div>
    ${hasToolbar && html`<div class="array-item-tools"><${Buttons} ...${buttonsProps} /></div>`}
  </div>`;
}

function MultiSchemaFieldTemplate({ selector, optionSchemaField }) {
  return html`<div class="kinds"><label>Kind${selector}</label>${optionSchemaField}</div>`;
}

function ErrorListTemplate({ errors }) {
  return html`<div class="trouble" role="alert"><ul>${errors.map((error, index) => html`<li key=${index}>${error.stack}</li>`)}</ul></div>`;
}

export const templates = {
  ArrayFieldItemTemplate,
  ErrorListTemplate,
  MultiSchemaFieldTemplate,
  ButtonTemplates: {
    AddButton: button("Add", "small"),
    CopyButton: button("Copy", "small"),
    MoveDownButton: button("Down", "small"),
    MoveUpButton: button("Up", "small"),
    RemoveButton: button("Remove", "small"),
    ClearButton: button("Clear", "small"),
    SubmitButton: () => null,
  },
};
