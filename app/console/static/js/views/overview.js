// The overview: how things stand, the latest minutes as the server counted them, queues and nodes.
import { html, useEffect, useMemo } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { Plot } from "../parts/plot.js";
import { now } from "../state/clock.js";
import { useKeys } from "../state/keys.js";
import { open } from "../state/questions.js";
import { history, nodes, refreshStats, refreshWorkers, shownMinutes, stats, watch, watchMinutes, workers } from "../state/rates.js";
import { addressOf } from "../state/route.js";
import { may } from "../state/session.js";
import { duration } from "../text/times.js";
import { line } from "../text/visible.js";
import { FirstTask, FirstWorker } from "./first-steps.js";
import { Dispatching } from "./pausing.js";
import { Queues } from "./workers.js";

const STATUSES = ["pending", "running", "suspended", "pass", "blocked", "cancelled"];
const AGES = [["under 1 min", 60], ["1–5 min", 300], ["5–30 min", 1800], ["30 min–2 h", 7200], ["2–24 h", 86_400], ["over a day", Infinity]];
const DURATIONS = [5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];
const SPANS = [[60, "1 hour"], [360, "6 hours"], [1440, "24 hours"]];

export function OverviewPage() {
  useEffect(() => watch(refreshStats, refreshWorkers), []);
  useEffect(() => watchMinutes(), []);
  useKeys({ r: () => void Promise.allSettled([refreshStats(), refreshWorkers()]) });
  if (!stats.value) return html`<div class="blank"><h1>Overview</h1><p>Reading…</p></div>`;
  const { tasks, questions, sessions, attempts, oldest_open_question_at: oldest } = stats.value;
  const isEmpty = !Object.values(tasks).some(Boolean);
  const alone = workers.value?.queues.find((queue) => queue.waiting && !workers.value.queues.some((one) => one.workers));
  return html`<div class="scrolled">
    <div class="bar"><h1>Overview</h1><${Dispatching} /></div>
    ${isEmpty && html`<${FirstTask} />`}
    <ul class="tiles" aria-label="Counts">
      ${STATUSES.map((status) => html`<li key=${status}><a href=${addressOf("tasks", "", `status=${status}`)} class=${`tile ${status}`}><b>${(tasks[status] ?? 0).toLocaleString()}</b><span>${status}</span></a></li>`)}
      <li><a href=${addressOf("inbox")} class="tile suspended"><b>${(questions?.open ?? 0).toLocaleString()}</b><span>open questions${oldest ? `, oldest ${duration(now.value - Date.parse(oldest))}` : ""}</span></a></li>
      <li><a href=${addressOf("workers")} class="tile"><b>${listeningOf(workers.value)}</b><span>workers listening</span></a></li>
      <li><a href=${addressOf("sessions")} class="tile"><b>${sessions?.attached ?? 0}</b><span>sessions attached</span></a></li>
    </ul>
    ${alone && html`<${FirstWorker} queue=${alone.queue} />`}
    <${Plots} />
    <div class="registries">
      <section><h2>Queues</h2>${workers.value?.queues.length ? html`<${Queues} queues=${workers.value.queues} />` : html`<p class="hint">No worker listens, and nothing waits.</p>`}</section>
      <section><h2>Live attempts</h2>${attempts?.length ? html`<dl class="counts">${attempts.map(({ spawner, phase, count }) => html`<div key=${spawner + phase}><dt>${line(spawner, 40)}, ${phase}</dt><dd>${count}</dd></div>`)}</dl>` : html`<p class="hint">None.</p>`}</section>
      <section><h2>Nodes</h2><dl class="counts">${nodes.value.map((node) => html`<div key=${node.id}><dt title=${node.id}>${line(node.url, 60)}, version ${line(node.version, 20)}</dt><dd>${stateOf(node)}</dd></div>`)}</dl></section>
      ${may("senior") && html`<${Ages} />`}
      ${stats.value.webhooks?.paused > 0 && html`<section><h2>Webhooks</h2><p class="trouble">${stats.value.webhooks.paused} paused. <a href=${addressOf("webhooks")}>Look why, and resume</a></p></section>`}
    </div>
  </div>`;
}

const listeningOf = (found) => (found ? found.items.filter((one) => one.queues.some((queue) => queue.listening)).length.toLocaleString() : "–");

function stateOf(node) {
  if (!node.alive) return html`<span class="trouble">dead, last heartbeat <${Age} at=${node.seen_at} suffix=" ago" /></span>`;
  return node.draining ? "draining" : "alive";
}

function Plots() {
  const all = history.value ?? [];
  const times = useMemo(() => all.map((minute) => Date.parse(minute.at) / 1000), [all]);
  const of = (...names) => [times, ...names.map((name) => all.map((minute) => minute[name]))];
  const rates = useMemo(() => of("created", "passed", "blocked"), [all]);
  const waiting = useMemo(() => of("queued", "suspended", "running"), [all]);
  const questions = useMemo(() => of("open_questions"), [all]);
  const ages = useMemo(() => [times, all.map(({ at, oldest_question_at: oldest }) => (oldest ? Math.max(0, Date.parse(at) - Date.parse(oldest)) / 1000 : 0))], [all]);
  const last = all.at(-1) ?? {};
  return html`<div class="bar minutes"><h2>Minute by minute</h2>
      <div class="modes end" role="group" aria-label="How far back">${SPANS.map(([count, label]) => html`<button key=${count} type="button" class="small" aria-pressed=${shownMinutes.value === count} onClick=${() => (shownMinutes.value = count)}>${label}</button>`)}</div></div>
    <div class="plots">
    <${Plot} title="Tasks per minute" data=${rates} series=${[{ label: "created", colour: "running", stepped: true }, { label: "pass", colour: "pass", stepped: true }, { label: "blocked", colour: "blocked", stepped: true }]}
      summary=${`In the latest whole minute, per minute: ${last.created ?? 0} created, ${last.passed ?? 0} pass, ${last.blocked ?? 0} blocked.`} />
    <${Plot} title="Tasks under way" data=${waiting} series=${[{ label: "queued", colour: "pending" }, { label: "suspended", colour: "suspended" }, { label: "running", colour: "running" }]}
      summary=${`A minute ago: ${last.queued ?? 0} queued, ${last.suspended ?? 0} suspended, ${last.running ?? 0} running.`} />
    <${Plot} title="Open questions" data=${questions} series=${[{ label: "open", colour: "suspended" }]} summary=${`A minute ago ${last.open_questions ?? 0} open.`} />
    <${Plot} title="Age of the oldest open question" data=${ages} unit=${(value) => duration(value * 1000)} steps=${DURATIONS} series=${[{ label: "age", colour: "blocked" }]} summary=${`A minute ago ${duration((ages[1].at(-1) ?? 0) * 1000)}.`} />
  </div>`;
}

/** The open questions by age. */
function Ages() {
  const counts = AGES.map(() => 0);
  for (const question of open.value) counts[AGES.findIndex(([, limit]) => (now.value - Date.parse(question.asked_at)) / 1000 < limit)] += 1;
  const most = Math.max(1, ...counts);
  return html`<section><h2>Open questions by age</h2><dl class="counts bars">${AGES.map(([label], index) => html`<div key=${label}><dt>${label}</dt><dd><meter min="0" max=${most} value=${counts[index]} aria-label=${label}></meter> ${counts[index]}</dd></div>`)}</dl></section>`;
}
