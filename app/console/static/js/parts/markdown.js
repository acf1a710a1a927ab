// Markdown as elements of our own: its HTML is off, nothing is loaded, and every link shows where it leads.
import { html } from "../../vendor/preact.js";
import { MarkdownIt } from "../../vendor/markdown.js";
import { addressOf } from "../state/route.js";
import { visible } from "../text/visible.js";
import { shortId } from "./id.js";

const MOST_NESTED = 30;
const FOLLOWED = /^(?:https?:\/\/|mailto:)/i;
const MENTION = /\b([TR]-[0-7][0-9a-hjkmnp-tv-z]{25})\b/g;

const parser = new MarkdownIt({ html: false, linkify: true, breaks: true, maxNesting: MOST_NESTED });
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
parser.validateLink = (address) => FOLLOWED.test(address.trim());
// Entities could draw what nobody can see, references say elsewhere where a link leads: both stay text.
parser.disable(["entity", "reference"]);

const BLOCKS = { paragraph: "p", heading: "h2", bullet_list: "ul", ordered_list: "ol", list_item: "li", blockquote: "blockquote", thead: "thead", tbody: "tbody", tr: "tr", th: "th", td: "td", em: "em", strong: "strong", s: "s" };

/** Draws a text; throws what the parser throws. */
export function Markdown({ text }) {
  const tokens = parser.parse(visible(text), {});
  return html`<div class="typeset" dir="auto">${drawn(tokens)}</div>`;
}

/** Draws a list of tokens, in which what is nested stands between an opening and a closing one. */
function drawn(tokens) {
  const stack = [{ children: [] }];
  for (const token of tokens) {
    if (token.nesting === 1) stack.push({ token, children: [] });
    else if (token.nesting === -1) {
      const { token: opening, children } = stack.pop();
      stack.at(-1).children.push(element(opening, children));
    } else stack.at(-1).children.push(leaf(token));
  }
  return stack[0].children;
}

function element(token, children) {
  const kind = token.type.replace(/_open$/, "");
  if (kind === "link") return html`<${Link} address=${token.attrGet("href")} title=${token.attrGet("title")}>${children}<//>`;
  if (kind === "table") return html`<div class="table" tabindex="0" role="group" aria-label="Table"><table>${children}</table></div>`;
  if (kind === "paragraph" && token.hidden) return children;
  const start = kind === "ordered_list" ? (token.attrGet("start") ?? undefined) : undefined;
  const Kind = BLOCKS[kind] ?? "div";
  return html`<${Kind} start=${start} class=${kind === "heading" ? `level-${token.tag}` : undefined}>${children}<//>`;
}

function leaf(token) {
  switch (token.type) {
    case "inline":
      return drawn(token.children);
    case "text":
    case "text_special":
    case "html_inline":
      return mentions(visible(token.content));
    case "softbreak":
    case "hardbreak":
      return html`<br />`;
    case "code_inline":
      return html`<code>${visible(token.content)}</code>`;
    case "hr":
      return html`<hr />`;
    case "image":
      return html`<${Link} address=${token.attrGet("src")} title=${token.attrGet("title")}>image: ${visible(token.content)}<//>`;
    default:
      return html`<pre>${token.info?.trim() && html`<span class="tag">${visible(token.info.trim())}</span>`}<code>${visible(token.content)}</code></pre>`;
  }
}

/** The address stands beside the words of a link, unless they are the address. */
function Link({ address, title, children }) {
  const shown = visible(address);
  const isAddress = children.length === 1 && children[0] === shown;
  return html`<a href=${address} target="_blank" rel="noopener noreferrer">${children}</a>${!isAddress && html` <span class="address">(${shown})</span>`}${title && html` <span class="address">“${visible(title)}”</span>`}`;
}

/** Ids of tasks and questions lead to them. */
function mentions(text) {
  const parts = text.split(MENTION);
  if (parts.length === 1) return text;
  return parts.map((part, index) => (index % 2 ? html`<a class="mention" title=${part} href=${addressOf(part[0] === "T" ? "task" : "inbox", part)}>${shortId(part)}</a>` : part));
}
