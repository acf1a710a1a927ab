// Who answered a question, and through which key and door.
import { html } from "../../vendor/preact.js";
import { Moment } from "./age.js";
import { line } from "../text/visible.js";

const DOORS = { rest: "HTTP", ws: "a WebSocket", link: "an answer link" };

/** Whether the deadline gave the answer, and nobody did. */
export const isByDeadline = ({ answered_through: through }) => through?.door === "deadline";

/** The role, key and door; draws nothing where they are not known. */
export function Through({ question: { answered_through: through } }) {
  if (!through || through.door === "deadline") return null;
  const key = through.key_name ? `with the key ${line(through.key_name, 60)}` : "";
  return html`<span class="through" title=${[through.key_id, through.session_id].filter(Boolean).join(", ")}>${[through.role && `as ${through.role}`, key, `over ${DOORS[through.door] ?? line(through.door, 20)}`].filter(Boolean).join(", ")}</span>`;
}

/** The door in words. */
export const doorOf = ({ answered_through: through }) => (!through ? "" : through.door === "deadline" ? "deadline" : (DOORS[through.door] ?? line(through.door, 20)));

/** The answerer in one line, below an answer. */
export function Answerer({ question }) {
  return html`<footer>${isByDeadline(question) ? "by its deadline" : line(question.answered_by ?? "", 60)}${question.answered_at && html`, <${Moment} at=${question.answered_at} />`} <${Through} question=${question} /></footer>`;
}
