// The answer: by a choice, a form, text or JSON. It is kept as a draft until the server has accepted it.
import { html, useEffect, useMemo, useRef, useState } from "../../vendor/preact.js";
import { Asker } from "../parts/asker.js";
import { Text } from "../parts/text.js";
import { choiceOf, formable, leftOut, optionsOf, wantsText } from "../form/schema.js";
import { answer, forgetRefusal, sending } from "../state/answers.js";
import { draftOf, keepDraft, keepNote, noteOf } from "../state/drafts.js";
import { useKeys } from "../state/keys.js";
import { parse, stringify } from "../text/json.js";
import { literal } from "../text/literal.js";
import { textOf, visible } from "../text/visible.js";
import { Choices } from "./choices.js";
import { DecisionForm, takesDecision } from "./decision.js";

const WORDS = { form: "Form", text: "Text", json: "JSON" };
const MOST_BUTTONS = 50;
const NOTHING = [];

/** The listed answers of a question as they are drawn, null when there are none. */
function choicesOf({ choices, answer_schema: schema }) {
  const listed = choices?.map(choiceOf) ?? optionsOf(schema);
  return listed && (choices || listed.length <= MOST_BUTTONS) ? listed : null;
}

/** The input modes for a schema, the best first. */
function modesOf(schema) {
  if (wantsText(schema)) return schema ? ["text"] : ["text", "json"];
  return formable(schema) ? ["form", "json"] : ["json"];
}

/** What a draft would send: {value}, {fault} when it cannot be read, or nothing when there is nothing yet. */
function readDraft(mode, draft, schema) {
  if (mode === "form") return draft.value !== undefined ? { value: draft.value } : schema.type === "object" ? { value: {} } : {};
  if (!draft.text) return {};
  if (mode === "text") return { value: draft.text };
  try {
    return { value: parse(draft.text) };
  } catch (error) {
    return { fault: `This is not JSON: ${error.message}` };
  }
}

/** What the schema says against a value, as far as that can be checked here. */
async function checked(schema, value) {
  if (!schema) return NOTHING;
  const { complaints } = await import("../form/validator.js").catch(() => ({ complaints: () => NOTHING }));
  return complaints(schema, value);
}

export function Answer({ question, onDone }) {
  const listed = useMemo(() => choicesOf(question), [question.key, question.choices, question.answer_schema]);
  const [note, setNote] = useState(() => noteOf(question.key));
  const write = (text) => (setNote(text), keepNote(question.key, text));
  const send = (value) => {
    answer(question, value, question.comment ? note : "");
    onDone(question.key);
  };
  return html`<section class="answer" aria-label="Your answer">
    ${question.comment && html`<${Note} text=${note} onText=${write} />`}
    ${takesDecision(question) ? html`<${DecisionForm} key=${question.key} question=${question} onSend=${send} />` : listed ? html`<${Listed} options=${listed} onChoose=${send} />` : html`<${Written} question=${question} onSend=${send} />`}
    <${Refused} entry=${sending.value[question.key]} />
  </section>`;
}

const LONGEST_NOTE = 4_000;

/** A comment that goes with any answer. */
function Note({ text, onText }) {
  const left = LONGEST_NOTE - [...text].length;
  return html`<label class="field note-field"><span class="name">Comment</span> <span class="hint">optional, goes with your answer</span>
    <textarea rows="1" dir="auto" class="short" maxlength=${LONGEST_NOTE} value=${text} onInput=${(event) => onText(event.target.value)}></textarea></label>
    ${left < 500 && html`<p class="hint number">${left.toLocaleString()} characters left</p>`}`;
}

function Listed({ options, onChoose }) {
  useKeys({ a: () => document.querySelector(".choice")?.focus() });
  return html`<${Choices} options=${options} onChoose=${onChoose} />`;
}

function Written({ question: { key, answer_schema: schema }, onSend }) {
  const modes = useMemo(() => modesOf(schema), [schema]);
  const [draft, setDraft] = useState(() => draftOf(key) ?? {});
  const [fault, setFault] = useState("");
  const [complaints, setComplaints] = useState(NOTHING);
  const broken = useRef(new Map());
  const mode = modes.includes(draft.mode) ? draft.mode : modes[0];
  const found = readDraft(mode, draft, schema);
  const change = (changes) => {
    const next = { ...draft, mode, ...changes };
    setDraft(next);
    setComplaints(NOTHING);
    if (sending.value[key]?.state === "refused") forgetRefusal(key);
    const isEmpty = !next.text && next.value === undefined && next.mode === modes[0];
    setFault(keepDraft(key, isEmpty ? null : next) ? "" : "This draft is too large to outlive a reload.");
  };
  const submit = async () => {
    if (found.fault) return setFault(found.fault);
    if (mode === "form" && broken.current.size) return setComplaints([...broken.current.values()]);
    if (!("value" in found)) return setFault("There is no answer yet.");
    const against = await checked(schema, found.value);
    setComplaints(against);
    if (!against.length) onSend(found.value);
  };
  useKeys({ "Control+Enter": submit, a: () => document.querySelector(".answer :is(textarea:not(.short), input, select)")?.focus() });
  return html`
    ${modes.length > 1 && html`<div class="modes" role="group" aria-label="How to answer">${modes.map((one) => html`<button key=${one} type="button" class="small" aria-pressed=${one === mode} onClick=${() => change(turned(draft, mode, one))}>${WORDS[one]}</button>`)}</div>`}
    ${mode === "form"
      ? html`<${LazyForm} schema=${schema} value=${draft.value} complaints=${complaints} broken=${broken.current} onChange=${(value) => change({ value })} />`
      : html`<${Area} mode=${mode} schema=${schema} text=${draft.text ?? ""} onText=${(text) => change({ text })} />`}
    ${fault && html`<p class="trouble" role="alert">${visible(fault)}</p>`}
    ${mode !== "form" && complaints.length > 0 && html`<ul class="trouble" role="alert">${complaints.map(({ path, message }) => html`<li key=${path + message}>${path.length > 0 && html`<b>${visible(path.join("."))}</b> `}${visible(message)}</li>`)}</ul>`}
    <${Preview} mode=${mode} schema=${schema} found=${found} text=${draft.text} />
    <div class="buttons"><button class="main" type="button" onClick=${submit}>Send <kbd aria-hidden="true">Ctrl ⏎</kbd></button>
      ${complaints.length > 0 && !broken.current.size && "value" in found && html`<button type="button" onClick=${() => onSend(found.value)}>Send it anyway</button>`}
      ${(draft.text || draft.value !== undefined) && html`<span class="hint">Draft kept</span>`}</div>`;
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

function Area({ mode, schema, text, onText }) {
  const most = mode === "text" ? schema?.maxLength : undefined;
  return html`<label class="field"><span class="name">${mode === "json" ? "Your answer, as JSON" : "Your answer"}</span> <${Asker} words=${schema?.title} />
    <${Asker} words=${schema?.description} />
    <textarea rows="5" dir="auto" spellcheck=${mode === "text"} class=${mode === "json" ? "mono" : ""} value=${text} onInput=${(event) => onText(event.target.value)}></textarea></label>
    ${most !== undefined && html`<p class="hint number">${[...text].length.toLocaleString()} of ${most.toLocaleString()} characters</p>`}
    ${mode === "json" && schema && html`<details><summary>Its schema</summary><pre class="mono">${visible(stringify(schema, 2).slice(0, 20_000))}</pre></details>`}`;
}

/** The JSON that will be sent. A text that shows all of itself needs none. */
function Preview({ mode, schema, found, text }) {
  const shown = "value" in found ? literal(found.value, 2) : "";
  if (!shown || (mode === "text" && shown === JSON.stringify(text).replaceAll("\\n", "\n"))) return null;
  const absent = mode === "text" ? NOTHING : leftOut(schema ?? {}, found.value, schema ?? {});
  return html`<section class="will-send" aria-label="What will be sent"><h2>This will be sent</h2><${Text} text=${shown} mono=${true} label="The JSON that will be sent" />
    ${absent.length > 0 && html`<p class="hint">Not touched by you, and not sent: ${absent.map((name) => html`<code key=${name}>${visible(name)}</code> `)}</p>`}</section>`;
}

function Refused({ entry }) {
  return html`<p class="trouble" role="status">${entry?.state === "refused" && `Not accepted: ${visible(entry.detail)}`}</p>`;
}

function LazyForm(props) {
  const [loaded, setLoaded] = useState({});
  useEffect(() => {
    import("./form.js").then(setLoaded, () => setLoaded({ failed: true }));
  }, []);
  if (loaded.failed) return html`<p class="trouble">The form could not be loaded. Reload the page: the draft is kept.</p>`;
  return loaded.SchemaForm ? html`<${loaded.SchemaForm} ...${props} />` : html`<p class="hint">Loading the form…</p>`;
}
