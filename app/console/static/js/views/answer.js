// The answer: by a choice, a form, text or JSON. It is kept as a draft until the server has accepted it.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/preact.js";
import { formable, listedAnswers, wantsText } from "../form/schema.js";
import { answer, forgetRefusal, sending } from "../state/answers.js";
import { draftOf, keepDraft } from "../state/drafts.js";
import { useKeys } from "../state/keys.js";
import { line, textOf, visible } from "../text/visible.js";
import { Choices } from "./choices.js";
import { parse, stringify } from "../text/json.js";

const WORDS = { form: "Form", text: "Text", json: "JSON" };

/** The input modes for this question, the best first. */
function modesOf(question, shown) {
  const schema = question.answer_schema;
  if (question.choices || listedAnswers(schema)) return ["choices"];
  if (wantsText(schema)) return schema ? ["text"] : ["text", "json"];
  return shown ? ["form", "json"] : ["json"];
}

export function Answer({ question, ready, onDone }) {
  const { key } = question;
  const shown = useMemo(() => formable(question.answer_schema), [question.key, ready]);
  const modes = modesOf(question, shown);
  const [draft, setDraft] = useState(() => draftOf(key) ?? {});
  const [fault, setFault] = useState("");
  const mode = modes.includes(draft.mode) ? draft.mode : modes[0];
  const entry = sending.value[key];
  const busy = entry?.state === "sending";
  const submit = useRef(null);
  const change = (changes) => {
    const next = { ...draft, mode, ...changes };
    setDraft(next);
    setFault("");
    if (entry?.state === "refused") forgetRefusal(key);
    const isEmpty = !next.text && next.value === undefined && next.mode === modes[0];
    if (!keepDraft(key, isEmpty ? null : next)) setFault("This draft is too large to outlive a reload.");
  };
  const send = async (value) => {
    if (busy) return;
    if (await answer(key, value)) onDone(key);
  };
  const sendWritten = () => {
    if (mode === "form") return submit.current?.();
    if (mode === "text") return draft.text ? send(draft.text) : setFault("There is no answer yet.");
    try {
      return send(parse(draft.text ?? ""));
    } catch (error) {
      return setFault(`This is not JSON: ${error.message}`);
    }
  };
  useKeys({ "Control+Enter": mode === "choices" ? () => false : sendWritten, a: () => document.querySelector(".answer textarea, .answer input, .answer select")?.focus() });
  if (mode === "choices")
    return html`<section class="answer" aria-label="Your answer"><${Choices} choices=${question.choices ?? listedAnswers(question.answer_schema)} disabled=${busy} onChoose=${send} /><${Sending} entry=${entry} /></section>`;
  return html`<section class="answer" aria-label="Your answer">
    ${modes.length > 1 && html`<div class="modes" role="group" aria-label="How to answer">${modes.map((one) => html`<button key=${one} type="button" class="small" aria-pressed=${one === mode} onClick=${() => change(turned(draft, mode, one))}>${WORDS[one]}</button>`)}</div>`}
    ${mode === "form"
      ? html`<${LazyForm} schema=${shown} value=${draft.value} sender=${submit} onChange=${(value) => change({ value })} onSend=${send} onFault=${() => change({ mode: "json" })} />`
      : html`<${Field} mode=${mode} schema=${question.answer_schema} text=${draft.text ?? ""} onText=${(text) => change({ text })} />`}
    ${fault && html`<p class="trouble" role="alert">${visible(fault)}</p>`}
    <${Sending} entry=${entry} />
    <div class="buttons"><button class="main" type="button" disabled=${busy} onClick=${sendWritten}>Send <kbd aria-hidden="true">Ctrl ⏎</kbd></button>
      ${(draft.text || draft.value !== undefined) && html`<span class="hint">Draft kept</span>`}</div>
  </section>`;
}

/** Returns the draft in another mode: the values of the form become the JSON text. */
function turned(draft, from, to) {
  if (from === "form" && to === "json" && draft.value !== undefined) return { mode: to, text: textOf(draft.value) };
  if (from === "json" && to === "form")
    try {
      return { mode: to, value: parse(draft.text) };
    } catch {
      return { mode: to };
    }
  return { mode: to };
}

function Field({ mode, schema, text, onText }) {
  const label = mode === "json" ? "Your answer, as JSON" : line(schema?.title ?? "Your answer", 120);
  return html`<label class="field">${label}
    ${schema?.description && html`<span class="hint">${line(schema.description, 600)}</span>`}
    <textarea rows="5" dir="auto" spellcheck=${mode === "text"} class=${mode === "json" ? "mono" : ""} value=${text} onInput=${(event) => onText(event.target.value)}></textarea></label>
    ${mode === "json" && schema && html`<details><summary>Its schema</summary><pre class="mono">${visible(stringify(schema, 2).slice(0, 20_000))}</pre></details>`}`;
}

function Sending({ entry }) {
  const text = !entry ? "" : entry.state === "sending" ? "Sending… It is kept and sent again until the server has it." : `Not accepted: ${visible(entry.detail)}`;
  return html`<p class=${entry?.state === "refused" ? "trouble" : "hint"} role="status">${text}</p>`;
}

function LazyForm(props) {
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    import("./schema-form.js").then(setLoaded, () => setLoaded({ failed: true }));
  }, []);
  if (loaded.failed) return html`<p class="trouble">The form could not be loaded. Reload the page: the draft is kept.</p>`;
  return loaded.SchemaForm ? html`<${loaded.SchemaForm} ...${props} />` : html`<p class="hint">Loading the form…</p>`;
}
