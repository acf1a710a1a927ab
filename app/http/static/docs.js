"use strict";
// Shows /openapi.json. Everything is written as text, so that nothing in the document can become markup.

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
  part.append(make("h4", title));
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

const show = (whole, path, method, operation) => {
  const box = make("details");
  const line = make("summary");
  const verbs = (operation["x-verbs"] || []).join(" or ");
  line.append(make("span", method.toUpperCase(), "method"), make("code", path), " ", make("span", verbs, "verbs"));
  box.append(line, make("p", operation.description || operation.summary || ""));
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
