// The overview: current counts, and plots over time.
import { html, useEffect, useMemo } from "../../vendor/preact.js";
import { Age } from "../parts/age.js";
import { useBusy } from "../parts/busy.js";
import { Plot } from "../parts/plot.js";
import { Trouble } from "../parts/problem.js";
import { now } from "../state/clock.js";
import { useKeys } from "../state/keys.js";
import { open } from "../state/questions.js";
import { SLOT_MS, nodes, refreshStats, slots, stats } from "../state/rates.js";
import { addressOf } from "../state/route.js";
import { ask, may } from "../state/session.js";
import { duration } from "../text/times.js";
import { line } from "../text/visible.js";

const STATUSES = ["pending", "running", "suspended", "pass", "blocked", "cancelled"];
const AGES = [["under 1 min", 60], ["1–5 min", 300], ["5–30 min", 1800], ["30 min–2 h", 7200], ["2–24 h", 86_400], ["over a day", Infinity]];
const DURATIONS = [5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];
const PER_MINUTE = 60_000 / SLOT_MS;

export function OverviewPage() {
  useEffect(() => void refreshStats().catch(() => {}), []);
  useKeys({ r: () => void refreshStats().catch(() => {}) });
  if (!stats.value) return html`<div class="blank"><h1>Overview</h1><p>Reading…</p></div>`;
  const { tasks, questions, sessions, queues, attempts, oldest_open_question_at: oldest, loop } = stats.value;
  const queued = Object.entries(queues ?? {});
  return html`<div class="scrolled">
    <div class="bar"><h1>Overview</h1><${Loop} loop=${loop} /></div>
    <ul class="tiles" aria-label="Counts">
      ${STATUSES.map((status) => html`<li key=${status}><a href=${addressOf("tasks", "", `status=${status}`)} class=${`tile ${status}`}><b>${(tasks[status] ?? 0).toLocaleString()}</b><span>${status}</span></a></li>`)}
      <li><a href=${addressOf("inbox")} class="tile suspended"><b>${(questions?.open ?? 0).toLocaleString()}</b><span>open questions${oldest ? `, oldest ${duration(now.value - Date.parse(oldest))}` : ""}</span></a></li>
      <li><a href=${addressOf("sessions")} class="tile"><b>${sessions?.attached ?? 0}</b><span>sessions attached</span></a></li>
    </ul>
    <${Plots} />
    <div class="registries">
      <section><h2>Waiting in queues</h2>${queued.length ? html`<dl class="counts">${queued.map(([name, count]) => html`<div key=${name}><dt>${line(name, 60)}</dt><dd>${count}</dd></div>`)}</dl>` : html`<p class="hint">No attempt waits for a worker.</p>`}</section>
      <section><h2>Live attempts</h2>${attempts?.length ? html`<dl class="counts">${attempts.map(({ spawner, phase, count }) => html`<div key=${spawner + phase}><dt>${line(spawner, 40)}, ${phase}</dt><dd>${count}</dd></div>`)}</dl>` : html`<p class="hint">None.</p>`}</section>
      <section><h2>Nodes</h2><dl class="counts">${nodes.value.map((node) => html`<div key=${node.id}><dt title=${node.id}>${line(node.url, 60)}, version ${line(node.version, 20)}</dt><dd>${stateOf(node)}</dd></div>`)}</dl></section>
      ${may("senior") && html`<${Ages} />`}
      ${stats.value.webhooks?.paused > 0 && html`<section><h2>Webhooks</h2><p class="trouble">${stats.value.webhooks.paused} paused after failing for too long. The holder of the root key can look at them and resume them.</p></section>`}
    </div>
  </div>`;
}

function stateOf(node) {
  if (!node.alive) return html`<span class="trouble">dead, last heartbeat <${Age} at=${node.seen_at} suffix=" ago" /></span>`;
  return node.draining ? "draining" : "alive";
}

const NOTHING = { created: 0, started: 0, pass: 0, blocked: 0 };

/** Returns the slots, including empty ones. */
function filled(some) {
  const whole = [];
  for (const slot of some) {
    for (let at = (whole.at(-1)?.at ?? slot.at) + SLOT_MS; at < slot.at; at += SLOT_MS) whole.push({ at, ...NOTHING });
    whole.push(slot);
  }
  return whole;
}

function Plots() {
  const all = useMemo(() => filled(slots.value), [slots.value]);
  const times = useMemo(() => all.map((slot) => slot.at / 1000), [all]);
  const rates = useMemo(() => [times, ...["created", "pass", "blocked"].map((name) => all.map((slot) => slot[name] * PER_MINUTE))], [all]);
  const sampled = useMemo(() => all.filter((slot) => slot.open !== undefined), [all]);
  const samplesOf = (...names) => [sampled.map((slot) => slot.at / 1000), ...names.map((name) => sampled.map((slot) => slot[name]))];
  const waiting = useMemo(() => samplesOf("queued", "suspended", "running"), [sampled]);
  const ages = useMemo(() => samplesOf("oldest"), [sampled]);
  const questions = useMemo(() => samplesOf("open"), [sampled]);
  const last = all.at(-1) ?? {};
  return html`<div class="plots">
    <${Plot} title="Throughput per minute" data=${rates} series=${[{ label: "created", colour: "running", stepped: true }, { label: "pass", colour: "pass", stepped: true }, { label: "blocked", colour: "blocked", stepped: true }]}
      summary=${`In the latest slot, per minute: ${(last.created ?? 0) * PER_MINUTE} created, ${(last.pass ?? 0) * PER_MINUTE} pass, ${(last.blocked ?? 0) * PER_MINUTE} blocked.`} />
    <${Plot} title="Tasks under way" data=${waiting} series=${[{ label: "queued", colour: "pending" }, { label: "suspended", colour: "suspended" }, { label: "running", colour: "running" }]}
      summary=${`Now: ${last.queued ?? 0} queued, ${last.suspended ?? 0} suspended, ${last.running ?? 0} running.`} />
    <${Plot} title="Open questions" data=${questions} series=${[{ label: "open", colour: "suspended" }]} summary=${`Now ${last.open ?? 0} open.`} />
    <${Plot} title="Age of the oldest open question" data=${ages} unit=${(value) => duration(value * 1000)} steps=${DURATIONS} series=${[{ label: "age", colour: "blocked" }]} summary=${`Now ${duration((last.oldest ?? 0) * 1000)}.`} />
  </div>`;
}

/** The open questions by age. */
function Ages() {
  const counts = AGES.map(() => 0);
  for (const question of open.value) counts[AGES.findIndex(([, limit]) => (now.value - Date.parse(question.asked_at)) / 1000 < limit)] += 1;
  const most = Math.max(1, ...counts);
  return html`<section><h2>Open questions by age</h2><dl class="counts bars">${AGES.map(([label], index) => html`<div key=${label}><dt>${label}</dt><dd><meter min="0" max=${most} value=${counts[index]} aria-label=${label}></meter> ${counts[index]}</dd></div>`)}</dl></section>`;
}

function Loop({ loop }) {
  const [run, busy, problem] = useBusy();
  const turn = () => run(async () => {
    await ask("senior", "POST", loop.paused ? "/v1/senior/loop/resume" : "/v1/senior/loop/pause");
    await refreshStats();
  });
  const paused = [loop?.all?.paused && `of all namespaces by ${line(loop.all.by ?? "root", 40)}`, loop?.paused && `by ${line(loop.by ?? "somebody", 40)}`].filter(Boolean);
  return html`<span class=${`badge ${paused.length ? "blocked" : "pass"}`}><span class="dot" aria-hidden="true"></span>${paused.length ? `dispatching paused ${paused.join(", and ")}` : "dispatching"}</span>
    ${may("senior") && html`<button type="button" class="small end" disabled=${busy} onClick=${turn}>${loop?.paused ? "Resume dispatching" : "Pause dispatching"}</button>`}<${Trouble} problem=${problem} />`;
}
