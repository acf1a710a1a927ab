// How a question was answered or closed, next to the draft of an answer, which is kept.
import { html } from "../../vendor/preact.js";
import { Through, isByDeadline } from "../parts/answerer.js";
import { Moment } from "../parts/age.js";
import { Given, Text, Value } from "../parts/text.js";
import { draftOf, keepDraft } from "../state/drafts.js";
import { forgetRefusal, sending } from "../state/answers.js";
import { held } from "../state/session.js";
import { line, textOf } from "../text/visible.js";

const CLOSED = { expired: "Its deadline passed.", withdrawn: "It was withdrawn: nobody waits for an answer any more." };

export function Settlement({ question }) {
  const entry = sending.value[question.key];
  if (question.status === "open") return null;
  const draft = entry?.state === "refused" ? textOf(entry.value) : draftText(draftOf(question.key));
  const own = question.answered_by === held.value?.name;
  return html`<section class="settlement" aria-label="How it was answered">
    ${question.status === "answered"
      ? html`<h2>${isByDeadline(question) ? "Nobody answered in time: the default was given" : own ? "You answered" : `Answered by ${line(question.answered_by ?? "somebody else", 60)}`}</h2>
          <p class="hint">${question.answered_at && html`<${Moment} at=${question.answered_at} />`} <${Through} question=${question} /></p>
          <${Given} value=${question.answer} label="The answer" />
          ${question.answer_comment && html`<h2>Comment</h2><${Text} text=${question.answer_comment} label="The comment" />`}`
      : html`<h2>${CLOSED[question.status] ?? question.status}</h2>${question.reason && html`<p class="hint">${line(question.reason, 300)}</p>`}`}
    ${draft && html`<h2>Your draft, not sent</h2><${Value} value=${draft} label="Your draft" />
      <button type="button" onClick=${() => (keepDraft(question.key, null), forgetRefusal(question.key))}>Discard the draft</button>`}
  </section>`;
}

function draftText(draft) {
  if (!draft) return "";
  return draft.text || (draft.value === undefined ? "" : textOf(draft.value));
}
