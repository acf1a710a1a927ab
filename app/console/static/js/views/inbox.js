// The inbox: the list of open questions, and the selected one.
import { computed, html, useEffect, useMemo, useState } from "../../vendor/preact.js";
import { Age, Left } from "../parts/age.js";
import { doorOf } from "../parts/answerer.js";
import { Badge } from "../parts/badge.js";
import { Icon } from "../parts/icon.js";
import { Listing } from "../parts/listing.js";
import { Trouble } from "../parts/problem.js";
import { PENDING, sending, unanswered } from "../state/answers.js";
import { claimOf, isOwn } from "../state/claims.js";
import { decided, find, more, watchDecided } from "../state/decided.js";
import { allowNotifications, permission } from "../state/attention.js";
import { draftedKeys } from "../state/drafts.js";
import { useKeys } from "../state/keys.js";
import { standing } from "../state/live.js";
import { loaded, open, questionOf, sync } from "../state/questions.js";
import { addressOf, go, route } from "../state/route.js";
import { may } from "../state/session.js";
import { snoozed } from "../state/snoozed.js";
import { answerOf } from "../text/literal.js";
import { byUrgency } from "../text/order.js";
import { questionLine } from "../text/title.js";
import { line } from "../text/visible.js";
import { QuestionView } from "./question.js";

const ROW = 68;
const DONE_ROW = 72;
const TYPING_MS = 250;

const putOff = computed(() => open.value.filter((one) => snoozed.value.has(one.key)));

export function InboxPage({ id }) {
  if (!may("senior")) return html`<div class="blank"><h1>Inbox</h1><p>Questions are answered by seniors, and your key has not that role. Sign in with one that has it, or <a href=${addressOf("tasks")}>look at the tasks</a>.</p></div>`;
  return html`<${Desk} id=${id} />`;
}

function Desk({ id }) {
  const [wanted, setWanted] = useState("");
  const [mode, setMode] = useState("open");
  const done = mode === "done";
  const questions = done ? decided.value.items : listOf(mode);
  const shown = useMemo(() => withCurrent(done ? questions : matching(questions, wanted), questionOf(id), done), [questions, wanted, id, done]);
  const selected = shown.findIndex((question) => question.key === id);
  const look = (index) => shown[index] && go("inbox", shown[index].key, { quietly: Boolean(id) });
  useEffect(() => {
    // On a wide screen the first question is selected by default.
    if (!id && !route.peek().id && shown.length && isWide()) go("inbox", shown[0].key, { quietly: true });
  }, [id, loaded.value, shown.length > 0]);
  useEffect(() => {
    // What was opened from elsewhere is in the list: a filter that hides it ends.
    const current = questionOf(id);
    if (done && current?.status === "open") setMode("open"), setWanted("");
    else if (!done && current && !matching([current], wanted).length) setWanted("");
  }, [id]);
  useEffect(() => (done ? watchDecided() : undefined), [done]);
  useEffect(() => {
    if (!done) return undefined;
    const timer = setTimeout(() => void find(wanted), wanted ? TYPING_MS : 0);
    return () => clearTimeout(timer);
  }, [done, wanted, standing.value === "live"]);
  useEffect(() => {
    // What the search does not find is not selected.
    const { items, loaded: isRead } = decided.value;
    if (done && isRead && id && decided.value.wanted && !items.some((one) => one.key === id)) select(items);
  }, [decided.value]);
  const select = (rows) => go("inbox", (isWide() && rows[0]?.key) || "", { quietly: true });
  /** Another list: what is selected is in it, or nothing is. */
  const narrow = (nextMode, nextWanted) => {
    setMode(nextMode);
    setWanted(nextWanted);
    if (nextMode === "done") return id && questionOf(id)?.status === "open" ? go("inbox", "", { quietly: true }) : undefined;
    const rows = matching(listOf(nextMode), nextWanted);
    if (id && !rows.some((question) => question.key === id)) select(rows);
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
    r: () => void (done ? find(wanted) : sync().catch(() => {})),
    "/": () => document.getElementById("wanted").focus(),
    Escape: (event) => (event.target.id === "wanted" ? event.target.blur() : false),
  });
  /** After an answer: select the next question of the list, unless another one was opened meanwhile. */
  const onDone = (key) => {
    if (route.peek().id !== key) return;
    const place = Math.max(0, shown.findIndex((question) => question.key === key));
    const rest = shown.filter((question) => question.key !== key && question.status === "open");
    go("inbox", rest[Math.min(place, rest.length - 1)]?.key ?? "", { quietly: true });
  };
  const tab = (name, words, count) => html`<button class="small" type="button" aria-pressed=${mode === name} onClick=${() => narrow(name, wanted)}>${words}${count !== undefined && html` <span class="number">${count}</span>`}</button>`;
  return html`<div class=${`desk ${id ? "looking" : ""}`}>
    <section class="side" aria-label="Questions">
      <div class="bar">
        ${id ? html`<h2 class="title">Inbox</h2>` : html`<h1 class="title">Inbox</h1>`}
        <div class="modes" role="group" aria-label="Which questions">
          ${tab("open", "Open", unanswered.value.length)}
          ${(putOff.value.length > 0 || mode === "snoozed") && tab("snoozed", "Snoozed", putOff.value.length)}
          ${tab("done", "Done")}
        </div>
        <${Bell} />
      </div>
      <div class="bar"><label class="search"><span class="unseen">${done ? "Search what was decided" : "Filter by agent or text"}</span><${Icon} name="search" />
        <input id="wanted" type="search" placeholder=${done ? "Question, answer, person or id" : "Agent or text"} value=${wanted} onInput=${(event) => narrow(mode, event.target.value)} onKeyDown=${(event) => event.key === "Enter" && enter(event)} /></label></div>
      ${done && html`<${Trouble} problem=${decided.value.problem} />`}
      <${Listing} items=${shown} rowHeight=${done ? DONE_ROW : ROW} keyOf=${(question) => question.key} label="Questions" selected=${selected} onEnd=${done ? more : undefined}
        row=${(question) => html`<${done ? DoneRow : Row} question=${question} current=${question.key === id} />`}
        empty=${html`<p class="empty">${emptyText(mode, wanted)}</p>`} />
    </section>
    <section class="rest" aria-label="The question">
      ${id ? html`<${QuestionView} key=${id} id=${id} onDone=${onDone} />` : html`<p class="empty">${shown.length ? "Choose a question." : paneText(mode, wanted)}</p>`}
    </section>
  </div>`;
}

const listOf = (mode) => (mode === "snoozed" ? putOff.value : unanswered.value);

function emptyText(mode, wanted) {
  if (mode === "done" && decided.value.problem) return "";
  if (mode === "done" && !decided.value.loaded) return "Reading…";
  if (wanted) return "Nothing fits.";
  if (mode === "done") return "Nothing was decided yet.";
  if (mode === "snoozed") return "Nothing is put off.";
  return loaded.value ? "Nobody waits for an answer." : "Reading…";
}

/** What stands in place of a question while there is none: what will be there. */
function paneText(mode, wanted) {
  if (wanted || mode === "snoozed") return "";
  if (mode === "done") return decided.value.loaded && !decided.value.problem ? "Answers appear here with who gave them, through which door and when." : "";
  return loaded.value ? "When an agent asks, its question appears here at once. You can leave this page open, or be notified by the bell." : "";
}

const isWide = () => matchMedia("(min-width: 60rem)").matches;

/** The question that is shown stands in the list, also when it was answered a moment ago. */
function withCurrent(questions, current, done) {
  if (!current || questions.some((question) => question.key === current.key)) return questions;
  if (done) return current.status === "open" ? questions : [current, ...questions];
  return [...questions, current].sort(byUrgency);
}

function matching(questions, wanted) {
  const text = wanted.trim().toLowerCase();
  if (!text) return questions;
  return questions.filter((one) => one.agent.toLowerCase().includes(text) || questionLine(one, 400).toLowerCase().includes(text) || one.task_id.startsWith(text.replace(/^t-/, "T-")));
}

/** What was decided: the question, the answer, who, through which door, and when. */
function DoneRow({ question, current }) {
  const by = question.status === "answered" ? [line(question.answered_by ?? "", 40), doorOf(question)].filter(Boolean).join(", over ") : "";
  return html`<a class="row question-row" href=${addressOf("inbox", question.key)} aria-current=${current ? "true" : undefined}>
    <span class="first"><b>${line(question.agent, 60)}</b>${question.answered_at && html`<${Age} at=${question.answered_at} suffix=" ago" />`}</span>
    <span class="second">${questionLine(question, 100)}</span>
    ${question.status === "answered"
      ? html`<span class="third"><b class="word">${question.cut?.includes("answer") && question.answer === null ? "a long answer" : line(answerOf(question.answer), 120)}</b> <span class="hint">${by}</span></span>`
      : html`<span class="third"><${Badge} status=${question.status} /></span>`}
  </a>`;
}

function Row({ question, current }) {
  const drafted = draftedKeys().includes(question.key);
  const found = claimOf(question);
  return html`<a class="row question-row" href=${addressOf("inbox", question.key)} aria-current=${current ? "true" : undefined}>
    <span class="first"><b>${line(question.agent, 60)}</b>
      ${question.status !== "open" ? html`<${Badge} status=${question.status} />` : question.deadline ? html`<${Left} at=${question.deadline} />` : html`<${Age} at=${question.asked_at} />`}</span>
    <span class="second">${questionLine(question, 160)}</span>
    ${PENDING.has(sending.value[question.key]?.state) ? html`<span class="tag">sent</span>` : found ? html`<span class="tag">${isOwn(found) ? "you are on it" : `${line(found.by, 24)} is on it`}</span>` : drafted && html`<span class="tag">draft</span>`}
  </a>`;
}

function Bell() {
  if (permission.value !== "default") return null;
  return html`<button class="quiet" type="button" title="Notify me of new questions" aria-label="Notify me of new questions" onClick=${allowNotifications}><${Icon} name="bell" /></button>`;
}

