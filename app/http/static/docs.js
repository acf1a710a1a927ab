"use strict";
// Shows /openapi.json, and sends calls to try them. Everything is written as text, so that nothing in the document or in
// a reply can become markup. The credential stays in its field and goes to this server alone.

const make = (tag, text, name) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
};

const resolve = (whole, value, depth = 0) => {
  if (depth > 6 || value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((item) => resolve(whole, item, depth + 1));
  if (typeof value.$ref === "string") {
    const target = value.$ref.slice(2).split("/").reduce((at, part) => at && at[part], whole);
    return resolve(whole, target, depth + 1);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(whole, item, depth + 1)]));
};

const table = (title, rows) => {
  const part = make("section");
  part.append(make("h3", title));
  const body = make("table");
  for (const cells of rows) {
    const row = make("tr");
    for (const cell of cells) row.append(make("td", cell));
    body.append(row);
  }
  part.append(body);
  return part;
};

const schema = (whole, title, value) => {
  const part = make("details");
  part.append(make("summary", title), make("pre", JSON.stringify(resolve(whole, value), null, 2)));
  return part;
};

const MOST_SHOWN = 200_000;

/** A value with which a body may begin: what the schema requires, as small as it can be. */
const sample = (whole, given, depth = 0) => {
  const found = typeof given?.$ref === "string" ? given.$ref.slice(2).split("/").reduce((at, part) => at?.[part], whole) : given;
  if (!found || depth > 6) return null;
  if ("const" in found) return found.const;
  if ("default" in found) return found.default;
  if (found.enum) return found.enum[0];
  const inner = (found.oneOf ?? found.anyOf ?? found.allOf)?.[0];
  if (inner) return sample(whole, inner, depth + 1);
  if (found.type === "object" || found.properties) {
    return Object.fromEntries((found.required ?? []).map((name) => [name, sample(whole, found.properties?.[name], depth + 1)]));
  }
  if (found.type === "array") return found.minItems ? [sample(whole, found.items, depth + 1)] : [];
  return { string: "text", integer: found.minimum ?? 0, number: found.minimum ?? 0, boolean: false }[found.type] ?? null;
};

const field = (label, control, required) => {
  const line = make("label", `${label}${required ? " *" : ""} `);
  control.required = required;
  line.append(control);
  return line;
};

const credential = () => document.getElementById("credential");

/** Fill in a path, and put what else is given into the query and the headers. */
const request = (path, method, inputs, body, type) => {
  const query = new URLSearchParams();
  const headers = {};
  let address = path;
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") address = address.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (parameter.in === "query") query.append(parameter.name, input.value);
    else headers[parameter.name] = input.value;
  }
  if (credential().value) headers.Authorization = `Bearer ${credential().value.trim()}`;
  if (body?.value) headers["Content-Type"] = type;
  const options = { method: method.toUpperCase(), headers, cache: "no-store", credentials: "omit", body: body?.value || undefined };
  return [query.size ? `${address}?${query}` : address, options];
};

/** Show a reply as it arrives; one that is JSON is laid out at its end. */
const read = async (reply, shown) => {
  const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader?.read(); part && !part.done && text.length < MOST_SHOWN; part = await reader.read()) {
    text += part.value;
    shown.textContent = text.slice(0, MOST_SHOWN);
  }
  reader?.cancel().catch(() => {});
  if (!reply.headers.get("Content-Type")?.includes("json") || text.length >= MOST_SHOWN) return null;
  const value = JSON.parse(text);
  // What JavaScript would round is shown as it came.
  if (!/\d{16}/.test(text)) shown.textContent = JSON.stringify(value, null, 2);
  return value;
};

const trial = (whole, path, method, operation) => {
  const form = make("form", undefined, "trial");
  const inputs = (operation.parameters || []).map((parameter) => [resolve(whole, parameter), make("input")]);
  for (const [parameter, input] of inputs) form.append(field(parameter.name, input, parameter.required));
  const [[type, content] = []] = Object.entries(operation.requestBody?.content || {});
  const body = type && make("textarea");
  if (body) {
    body.rows = 5;
    body.value = type === "application/json" ? JSON.stringify(sample(whole, content.schema), null, 2) : "";
    form.append(field(`Body, ${type}`, body, false));
  }
  const send = make("button", "Send");
  const stop = make("button", "Stop");
  const use = make("button", "Use its token for further calls");
  const status = make("p");
  const shown = make("pre");
  stop.type = use.type = "button";
  stop.hidden = use.hidden = shown.hidden = true;
  status.setAttribute("role", "status");
  shown.tabIndex = 0;
  form.append(send, stop, status, shown, use);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const ended = new AbortController();
    stop.onclick = () => ended.abort();
    send.disabled = true;
    use.hidden = true;
    stop.hidden = shown.hidden = false;
    shown.textContent = "";
    status.textContent = "Sent …";
    try {
      const reply = await fetch(...((parts) => [parts[0], { ...parts[1], signal: ended.signal }])(request(path, method, inputs, body, type)));
      status.textContent = `Reply: ${reply.status} ${reply.statusText}`.trim();
      const value = await read(reply, shown);
      use.hidden = typeof value?.token !== "string";
      use.onclick = () => (credential().value = value.token);
    } catch (error) {
      status.textContent = ended.signal.aborted ? "Stopped." : `No reply: ${error.message}`;
    } finally {
      send.disabled = false;
      stop.hidden = true;
    }
  });
  return form;
};

/** A folded part that is built when it is opened. */
const folded = (title, build) => {
  const part = make("details");
  part.append(make("summary", title));
  part.addEventListener("toggle", () => part.open && part.children.length === 1 && part.append(build()));
  return part;
};

const show = (whole, path, method, operation) => {
  const box = make("details");
  const line = make("summary");
  const verbs = (operation["x-verbs"] || []).join(" or ");
  const sentence = (operation.description || operation.summary || "").split("\n\n")[0];
  line.append(make("span", method.toUpperCase(), "method"), make("code", path), " ", make("span", sentence, "sentence"));
  box.append(line, make("p", operation.description || operation.summary || ""));
  if (verbs) box.append(make("p", `Needs the verb ${verbs}.`, "verbs"));
  const parameters = operation.parameters || [];
  if (parameters.length) {
    box.append(table("Parameters", parameters.map((p) => [p.name, p.in, p.required ? "required" : "", p.description || ""])));
  }
  for (const [type, content] of Object.entries(operation.requestBody?.content || {})) {
    box.append(schema(whole, `Body, ${type}`, content.schema));
  }
  const replies = Object.entries(operation.responses).map(([status, reply]) => [status, resolve(whole, reply)]);
  box.append(table("Replies", replies.map(([status, reply]) => [status, reply.description || ""])));
  for (const [status, reply] of replies.filter(([status]) => status < "300")) {
    for (const [type, content] of Object.entries(reply.content || {})) {
      box.append(schema(whole, `${status}, ${type}`, content.schema));
    }
  }
  box.append(folded("Try it", () => trial(whole, path, method, operation)));
  box.dataset.words = [path, method, verbs, operation.description, operation.summary].join(" ").toLowerCase();
  return box;
};

const render = (whole) => {
  const place = document.getElementById("operations");
  const byTag = new Map();
  for (const [path, operations] of Object.entries(whole.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] || "other";
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(show(whole, path, method, operation));
    }
  }
  document.getElementById("version").textContent = whole.info.version;
  place.replaceChildren();
  for (const [tag, boxes] of byTag) place.append(make("h2", tag), ...boxes);
};

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const box of document.querySelectorAll("main > details")) box.hidden = !box.dataset.words.includes(wanted);
});

fetch("/openapi.json")
  .then((reply) => (reply.ok ? reply.json() : Promise.reject(new Error(`status ${reply.status}`))))
  .then(render)
  .catch((error) => document.getElementById("operations").replaceChildren(make("p", `The document cannot be read: ${error.message}`)));
