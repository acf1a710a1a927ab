// The page of answer links. The secret stands in the fragment of the address, which browsers send to nobody; it goes
// out in the body of two calls alone. Reading settles nothing: only the press of a button that names an answer does.

const main = document.getElementById("main");
const link = location.hash.slice(1);
const SHORT = 80;
const SCALARS = new Set(["string", "number", "boolean"]);
const DECISION = new Set(["decision", "message", "edited_action"]);
const CONSOLE = "/console/assets/shared/";
const CONSOLE_SCRIPTS = ["vendor/preact.js", "js/views/form.js", "js/form/schema.js", "js/form/validator.js", "js/text/json.js", "js/text/literal.js"];
const CONSOLE_STYLES = ["css/tokens.css", "css/forms.css"];

/** Makes an element. Texts become text nodes, never markup. */
function make(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A text in which characters that cannot be seen, or that reorder others, are spelled out. */
const visible = (text) => String(text).replace(/[^\P{C}\n\t]|[\u2028\u2029]/gu, (one) => (/[\u200c\u200d]/.test(one) ? one : `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`));
const oneLine = (text) => visible(text).replace(/\s+/g, " ").trim();
const short = (text) => (text.length > SHORT ? `${text.slice(0, SHORT)}…` : text);
const spelled = (value) => (typeof value === "string" ? `“${oneLine(value)}”` : oneLine(JSON.stringify(value)));
const isScalar = (value) => value === null || SCALARS.has(typeof value);
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const said = (value) => (typeof value === "string" ? visible(value) : visible(JSON.stringify(value, null, 2)));
const at = (instant) => new Date(instant).toLocaleString();

/** Whether a number in the text of JSON would not survive being read here. */
function losesNumbers(text) {
  const numbers = text.replace(/"(?:[^"\\]|\\.)*"/g, '""').match(/-?\d[\d.eE+-]*/g) ?? [];
  return numbers.some((one) => one.replace(/[eE].*/, "").replace(/\D/g, "").replace(/^0+/, "").length > 15 || !Number.isFinite(Number(one)));
}

async function post(path, body) {
  const reply = await fetch(path, {
    method: "POST", body, headers: { "Content-Type": "application/json" },
    cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer", redirect: "error",
  });
  const text = await reply.text();
  let value = null;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  return { ok: reply.ok, status: reply.status, value, text };
}

function notice(text, ...more) {
  return make("p", { className: "notice", role: "alert" }, text, ...more);
}

function show(title, ...content) {
  main.replaceChildren(make("h1", {}, title), ...content);
}

async function begin() {
  if (!link) {
    show("Open the whole link", make("p", {}, "The address of this page lacks the part behind its #. Open the link as it was sent to you."));
    return;
  }
  const again = make("button", { type: "button", onclick: begin }, "Try again");
  let reply;
  try {
    reply = await post("/v1/links/open", JSON.stringify({ link }));
  } catch {
    show("The server cannot be reached", make("p", {}, "Nothing was sent."), again);
    return;
  }
  if (reply.ok && reply.value) await draw(reply.value, losesNumbers(reply.text));
  else if (reply.status === 404 || reply.status === 422) show("This link cannot be used", make("p", {}, "It was used already or revoked, its time is over, the question was answered in another way, or the link is incomplete."));
  else show("The question cannot be read now", make("p", {}, visible(reply.value?.detail ?? `The server answered ${reply.status}.`)), again);
}

async function draw(question, lossy) {
  document.title = `${short(oneLine(question.title ?? "A question"))} · swarmhold`;
  const forms = lossy ? null : (formsOf(question) ?? (await composed(question.answer_schema)));
  show(
    question.title ? oneLine(question.title) : "A question for you",
    make("p", { className: "about" }, `${oneLine(question.asked_by)} asks (${oneLine(question.agent)}, ${at(question.asked_at)}).`),
    make("div", { className: "question" }, said(question.question)),
    ...actionOf(question),
    ...(forms ?? [elsewhere(question)]),
    make("p", { className: "about" }, `You answer as ${oneLine(question.person)}. The link takes one answer, until ${at(question.expires_at)}. Nothing is answered before you press a button.`),
  );
}

function actionOf({ action }) {
  if (!action) return [];
  const server = action.server ? ` of ${oneLine(action.server)}` : "";
  return [make("p", {}, `It wants to do ${oneLine(action.name)}${server} with:`), make("pre", {}, said(action.arguments))];
}

function elsewhere({ console: address }) {
  return make("p", {}, "This page has no form that is true to what may be answered here. Sign in and answer ", make("a", { href: address, rel: "noreferrer" }, "in the console"), ".");
}

/** The forms for a question, one for each thing that may be answered; null where none would be faithful. */
function formsOf(question) {
  const { allow, choices, answer_schema: schema } = question;
  const known = (choices ?? []).map((choice) => worded(choice));
  if (allow) return allow.map((value) => pressed(known.find((one) => same(one.value, value)) ?? { value }));
  if (choices) return known.map((choice) => pressed(choice));
  if (!schema) return [typed("Your answer", (text) => text)];
  if (question.action && decides(schema)) return question.allowed.map((decision) => decided(decision, question.action));
  return simple(schema);
}

const WORDS = new Set(["value", "label", "description", "danger"]);

function worded(choice) {
  const words = choice !== null && typeof choice === "object" && !Array.isArray(choice) && "value" in choice && "label" in choice && Object.keys(choice).every((name) => WORDS.has(name));
  return words ? choice : { value: choice };
}

function decides({ properties = {}, required, additionalProperties }) {
  return Array.isArray(properties.decision?.enum) && same(required, ["decision"]) && additionalProperties === false && Object.keys(properties).every((name) => DECISION.has(name));
}

function simple(schema) {
  if ("const" in schema && isScalar(schema.const)) return [pressed({ value: schema.const })];
  if (Array.isArray(schema.enum) && schema.enum.every(isScalar)) return schema.enum.map((value) => pressed({ value }));
  switch (schema.type) {
    case "boolean":
      return [named("Answer Yes", true), named("Answer No", false)];
    case "string":
      return [typed("Your answer", (text) => text)];
    case "number":
    case "integer":
      return [typed("Your answer, a number", numbered, { rows: 1 })];
    default:
      return null;
  }
}

function numbered(text) {
  const trimmed = text.trim();
  return trimmed !== "" && !losesNumbers(trimmed) && Number.isFinite(Number(trimmed)) ? Number(trimmed) : undefined;
}

/** A form that is one button, which names its answer. A dangerous one has to be pressed twice. */
function pressed({ value, label, description, danger }) {
  const name = label ? `${oneLine(label)} (${spelled(value)})` : spelled(value);
  return named(`Answer ${name}`, value, { name, description, danger });
}

function named(words, value, { name = words, description, danger } = {}) {
  const button = make("button", { type: "button" }, words);
  let sure = !danger;
  return formOf([description ? make("p", {}, visible(description)) : null], button, () => {
    if (sure) return send(value);
    sure = true;
    button.textContent = `It is called dangerous. Press again to answer ${name}`;
    return null;
  });
}

/** A form with a field for text, and a button that names what was typed. */
function typed(words, read, { rows = 3, name = (value) => `Answer ${short(spelled(value))}`, initial = "", code = false, empty = false } = {}) {
  const field = make("textarea", { rows, value: initial, className: code ? "code" : "", autocomplete: "off" });
  const button = make("button", { type: "button" });
  const update = () => {
    const value = field.value.trim() === "" && !empty ? undefined : read(field.value);
    button.disabled = value === undefined;
    button.textContent = value === undefined ? "Type first" : name(value);
    return value;
  };
  field.addEventListener("input", update);
  update();
  return formOf([make("label", {}, words, field)], button, () => {
    const value = update();
    return value === undefined ? null : send(value);
  });
}

function decided(decision, action) {
  const name = oneLine(action.name);
  switch (decision) {
    case "approve":
      return named(`Approve ${name}`, { decision });
    case "reject":
      return typed("Why not (the asker reads it; it may stay empty)", (text) => ({ decision, ...(text.trim() && { message: text }) }), { empty: true, name: () => `Reject ${name}` });
    case "respond":
      return typed("Instead of doing it, tell the asker", (message) => ({ decision, message }), { name: ({ message }) => `Respond ${short(spelled(message))}` });
    default:
      return typed("Other arguments, as JSON", (text) => edited(text, action), { rows: 6, code: true, initial: JSON.stringify(action.arguments, null, 2), name: ({ edited_action: { arguments: said } }) => `Approve ${name} with ${short(spelled(said))}` });
  }
}

function edited(text, { name }) {
  try {
    const found = JSON.parse(text);
    const fits = found !== null && typeof found === "object" && !Array.isArray(found) && !losesNumbers(text);
    return fits ? { decision: "edit", edited_action: { name, arguments: found } } : undefined;
  } catch {
    return undefined;
  }
}

/** The console's form for a schema whose answers have parts; null where it has none, or cannot be loaded. */
async function composed(schema) {
  const loaded = await Promise.all(CONSOLE_SCRIPTS.map((name) => import(CONSOLE + name))).catch(() => null);
  if (!loaded) return null;
  const [{ html, render }, { SchemaForm }, { formable }, { complaints }, { stringify }, { literal }] = loaded;
  if (!formable(schema)) return null;
  document.head.append(...CONSOLE_STYLES.map((name) => make("link", { rel: "stylesheet", href: CONSOLE + name })));
  const [fields, preview, button, broken] = [make("div"), make("pre", { ariaLive: "off" }), make("button", { type: "button" }), new Map()];
  let value;
  let found = [];
  const given = () => value ?? (schema.type === "object" ? {} : undefined);
  const changed = (next) => {
    value = next;
    found = [];
    update();
  };
  const update = () => {
    render(html`<${SchemaForm} schema=${schema} value=${value} complaints=${found} broken=${broken} onChange=${changed} />`, fields);
    const shown = given() === undefined ? "" : literal(given());
    preview.textContent = given() === undefined ? "Nothing yet." : literal(given(), 2);
    button.disabled = !shown;
    button.textContent = shown ? `Answer ${short(shown)}` : "Fill in the form first";
  };
  update();
  return [formOf([fields, make("p", { className: "about" }, "This will be sent:"), preview], button, () => {
    found = broken.size ? [...broken.values()] : complaints(schema, given());
    return found.length ? update() : send(given(), stringify);
  })];
}

/** A group of controls around a button. A script of a scanner that clicks or submits whatever it finds presses nothing. */
function formOf(parts, button, act) {
  button.addEventListener("click", (event) => {
    if (event.isTrusted) act();
  });
  return make("section", {}, ...parts, button);
}

const DECIDED = { approve: "Approved.", edit: "Approved with other arguments.", reject: "Rejected.", respond: "Responded." };

/** What was answered: a decision in words, and else the value. */
function taken(value, write) {
  const decided = value && typeof value === "object" && Object.hasOwn(DECIDED, value.decision) && Object.keys(value).every((name) => DECISION.has(name));
  if (decided) return make("p", {}, [DECIDED[value.decision], visible(value.message ?? "")].join(" "));
  return make("pre", {}, write === JSON.stringify ? said(value) : visible(write(value, 2)));
}

/** `write` spells the value as JSON. */
async function send(value, write = JSON.stringify) {
  const controls = [...main.querySelectorAll("button, input, select, textarea")].filter((one) => !one.disabled);
  const enable = (problem) => {
    for (const one of controls) one.disabled = false;
    main.querySelector(".notice")?.remove();
    main.append(notice(problem));
  };
  for (const one of controls) one.disabled = true;
  let reply;
  try {
    reply = await post("/v1/links/answer", `{"link":${JSON.stringify(link)},"value":${write(value)}}`);
  } catch {
    enable("The connection failed, and it is not known whether your answer arrived. Press again; if the link cannot be used then, an answer had arrived.");
    return;
  }
  if (reply.ok) show("Your answer was taken", taken(value, write), make("p", {}, "You can close this page."));
  else if (reply.status === 404) show("This link cannot be used any more", make("p", {}, "The question has been answered meanwhile, or the link's time is over."));
  else enable(visible(reply.value?.detail ?? `The server answered ${reply.status}.`));
}

begin();
