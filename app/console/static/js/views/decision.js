// The decision about an action: approve it, edit it first, reject it, or say something.
import { html, useEffect, useState } from "../../vendor/preact.js";
import { Text } from "../parts/text.js";
import { draftOf, keepDraft } from "../state/drafts.js";
import { useKeys } from "../state/keys.js";
import { parse } from "../text/json.js";
import { literal } from "../text/literal.js";
import { textOf, visible } from "../text/visible.js";

const WORDS = { approve: "Approve", edit: "Edit and approve", reject: "Reject", respond: "Respond" };

/** Returns whether the question takes a decision, as the server writes it. */
export const takesDecision = ({ action, allowed, choices, answer_schema: schema }) =>
  Boolean(action && allowed && !choices && Array.isArray(schema?.properties?.decision?.enum) && !Object.keys(schema.properties).some((name) => !["decision", "edited_action", "message"].includes(name)));

/** What the choice and the fields would send: {value}, or {fault}. */
function decided(question, { choice, text, message }) {
  const said = message ? { message } : {};
  if (choice === "respond" && !message) return { fault: "Write what you respond." };
  if (choice !== "edit") return { value: { decision: choice, ...said } };
  try {
    return { value: { decision: choice, edited_action: { name: question.action.name, arguments: parse(text) }, ...said } };
  } catch (error) {
    return { fault: `The arguments are not JSON: ${error.message}` };
  }
}

/** Nothing is chosen at first; what is shown as JSON is what is sent. */
export function DecisionForm({ question, onSend }) {
  const [draft, setDraft] = useState(() => ({ choice: "", text: textOf(question.action.arguments), message: "", ...draftOf(question.key)?.decision }));
  const [fault, setFault] = useState("");
  useEffect(() => setFault(""), [draft]);
  const change = (changes) => {
    const next = { ...draft, ...changes };
    setDraft(next);
    keepDraft(question.key, { decision: next });
  };
  const found = draft.choice ? decided(question, draft) : {};
  const submit = () => {
    const folded = document.querySelector(".asked .fold[aria-expanded=false]");
    if (folded) folded.click();
    if (folded || found.fault) setFault(found.fault ?? "Read it whole first: the rest is shown now.");
    else onSend(found.value);
  };
  useKeys({ a: () => document.querySelector(".answer .choice")?.focus(), "Control+Enter": () => draft.choice && submit() });
  return html`<fieldset class="member options"><legend>Your decision</legend>
      <div class="choices" role="group" aria-label="Decisions">${question.allowed.map((one) => html`<button key=${one} type="button" class="choice" aria-pressed=${draft.choice === one} onClick=${() => change({ choice: one })}><span class="value">${WORDS[one] ?? visible(one)}</span></button>`)}</div></fieldset>
    ${draft.choice === "edit" && html`<label class="field"><span class="name">Arguments, as JSON</span>
      <textarea rows="6" dir="auto" spellcheck=${false} class="mono" value=${draft.text} onInput=${(event) => change({ text: event.target.value })}></textarea></label>`}
    ${draft.choice && html`<label class="field"><span class="name">Message</span> ${draft.choice !== "respond" && html`<span class="hint">optional, goes with your decision</span>`}
      <textarea rows="2" dir="auto" value=${draft.message} onInput=${(event) => change({ message: event.target.value })}></textarea></label>`}
    ${"value" in found && html`<section class="will-send" aria-label="What will be sent"><h2>This will be sent</h2><${Text} text=${literal(found.value, 2)} mono=${true} label="The JSON that will be sent" /></section>`}
    ${fault && html`<p class="trouble" role="alert">${visible(fault)}</p>`}
    ${draft.choice && html`<div class="buttons"><button class="main" type="button" onClick=${submit}>Send <kbd aria-hidden="true">Ctrl ⏎</kbd></button></div>`}`;
}
