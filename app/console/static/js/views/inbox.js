// The inbox: the list of open questions, and the selected one.
import { html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { Age, Left } from "../parts/age.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { Listing } from "../parts/listing.js";
import { PENDING, sending, unanswered } from "../state/answers.js";
import { allowNotifications, permission } from "../state/attention.js";
import { draftedKeys } from "../state/drafts.js";
import { useKeys } from "../state/keys.js";
import { loaded, questionOf, settled, sync } from "../state/questions.js";
import { addressOf, go } from "../state/route.js";
import { may } from "../state/session.js";
import { byUrgency } from "../text/order.js";
import { line, questionLine } from "../text/visible.js";
import { QuestionView } from "./question.js";

const ROW = 68;

export function InboxPage({ id }) {
  if (!may("senior")) return html`<div class="blank"><h1>Inbox</h1><p>Questions are answered by seniors, and your key has not that role. Sign in with one that has it, or <a href=${addressOf("tasks")}>look at the tasks</a>.</p></div>`;
  return html`<${Desk} id=${id} />`;
}

function Desk({ id }) {
  const [wanted, setWanted] = useState("");
  const [done, setDone] = useState(false);
  const questions = done ? settled.value : unanswered.value;
  const shown = useMemo(() => withCurrent(matching(questions, wanted), questionOf(id), done), [questions, wanted, id, done]);
  const selected = shown.findIndex((question) => question.key === id);
  const look = (index) => shown[index] && go("inbox", shown[index].key, { quietly: Boolean(id) });
  useEffect(() => {
    // On a wide screen the first question is selected by default.
    if (!id && shown.length && isWide()) go("inbox", shown[0].key, { quietly: true });
  }, [id, loaded.value, shown.length > 0]);
  useEffect(() => {
    // What was opened from elsewhere is in the list: a filter that hides it ends.
    const current = questionOf(id);
    if (current && !matching([current], wanted).length) setWanted("");
  }, [id]);
  /** Another list: what is selected is in it, or nothing is. */
  const narrow = (nextDone, nextWanted) => {
    setDone(nextDone);
    setWanted(nextWanted);
    const rows = matching(nextDone ? settled.value : unanswered.value, nextWanted);
    if (!id || rows.some((question) => question.key === id)) return;
    go("inbox", (isWide() && rows[0]?.key) || "", { quietly: true });
  };
  const enter = (event) => {
    if (event.target.id === "wanted") event.target.blur();
    else if (event.target.closest("a, button, summary, .answer")) return false;
    return look(Math.max(selected, 0));
  };
  useKeys({
    j: () => look(Math.min(selected + 1, shown.length - 1)),
    k: () => look(Math.max(selected - 1, 0)),
    Enter: enter,
    r: () => void sync().catch(() => {}),
    "/": () => document.getElementById("wanted").focus(),
    Escape: (event) => (event.target.id === "wanted" ? event.target.blur() : false),
  });
  /** After an answer: select the next question of the list. */
  const onDone = (key) => {
    const place = Math.max(0, shown.findIndex((question) => question.key === key));
    const rest = shown.filter((question) => question.key !== key && question.status === "open");
    go("inbox", rest[Math.min(place, rest.length - 1)]?.key ?? "", { quietly: true });
  };
  return html`<div class=${`desk ${id ? "looking" : ""}`}>
    <section class="side" aria-label="Questions">
      <div class="bar">
        ${id ? html`<h2 class="title">Inbox</h2>` : html`<h1 class="title">Inbox</h1>`}
        <div class="modes" role="group" aria-label="Which questions">
          <button class="small" type="button" aria-pressed=${!done} onClick=${() => narrow(false, wanted)}>Open <span class="number">${unanswered.value.length}</span></button>
          <button class="small" type="button" aria-pressed=${done} onClick=${() => narrow(true, wanted)}>Done</button>
        </div>
        <${Bell} />
      </div>
      <div class="bar"><label class="search"><span class="unseen">Filter by agent or text</span><${Icon} name="search" />
        <input id="wanted" type="search" placeholder="Agent or text" value=${wanted} onInput=${(event) => narrow(done, event.target.value)} onKeyDown=${(event) => event.key === "Enter" && enter(event)} /></label></div>
      <${Listing} items=${shown} rowHeight=${ROW} keyOf=${(question) => question.key} label="Questions" selected=${selected}
        row=${(question) => html`<${Row} question=${question} current=${question.key === id} />`}
        empty=${html`<p class="empty">${emptyText(done, wanted)}</p>`} />
    </section>
    <section class="rest" aria-label="The question">
      ${id ? html`<${QuestionView} key=${id} id=${id} onDone=${onDone} />` : html`<p class="empty">${shown.length ? "Choose a question." : "Nobody waits for an answer."}</p>`}
    </section>
  </div>`;
}

function emptyText(done, wanted) {
  if (wanted) return "Nothing fits.";
  if (done) return "Nothing was answered while this console was open.";
  return loaded.value ? "Nobody waits for an answer." : "Reading…";
}

const isWide = () => matchMedia("(min-width: 60rem)").matches;

/** The question that is shown stands in the list, also when it was answered a moment ago. */
function withCurrent(questions, current, done) {
  if (!current || questions.some((question) => question.key === current.key)) return questions;
  return done ? [current, ...questions] : [...questions, current].sort(byUrgency);
}

function matching(questions, wanted) {
  const text = wanted.trim().toLowerCase();
  if (!text) return questions;
  return questions.filter((one) => one.agent.toLowerCase().includes(text) || questionLine(one, 400).toLowerCase().includes(text) || one.task_id.startsWith(text.replace(/^t-/, "T-")));
}

function Row({ question, current }) {
  const drafted = draftedKeys().includes(question.key);
  return html`<a class="row question-row" href=${addressOf("inbox", question.key)} aria-current=${current ? "true" : undefined}>
    <span class="first"><b>${line(question.agent, 60)}</b>
      ${question.status !== "open" ? html`<${Badge} status=${question.status} />` : question.deadline ? html`<${Left} at=${question.deadline} />` : html`<${Age} at=${question.asked_at} />`}</span>
    <span class="second">${questionLine(question, 160)}</span>
    ${PENDING.has(sending.value[question.key]?.state) ? html`<span class="tag">sent</span>` : drafted && html`<span class="tag">draft</span>`}
  </a>`;
}

function Bell() {
  if (permission.value !== "default") return null;
  return html`<button class="quiet" type="button" title="Notify me of new questions" aria-label="Notify me of new questions" onClick=${allowNotifications}><${Icon} name="bell" /></button>`;
}

