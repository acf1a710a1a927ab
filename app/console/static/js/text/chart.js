// The layout of a timeline: positions on an axis of time. Numbers only; the view draws them.

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000];
const PERSONAL = new Set(["senior_queried", "senior_answered", "question_expired", "question_withdrawn"]);

/** Everything a timeline shows, in milliseconds: {start, end, attempts, questions, marks}. */
export function timelineOf({ task, attempts, questions }, events, now) {
  const outputs = events.filter((event) => event.kind === "worker_output");
  const start = Date.parse(task.created_at);
  const over = ["pass", "cancelled"].includes(task.status) || (task.status === "blocked" && !attempts.some((one) => one.status === "live"));
  const latest = Math.max(Date.parse(task.updated_at), ...events.slice(-1).map((event) => Date.parse(event.at)));
  const end = Math.max(start + 1000, over ? latest : now);
  return {
    start,
    end: end + (end - start) * 0.02,
    attempts: attempts.map((one) => ({
      number: one.attempt,
      from: Date.parse(one.started_at),
      to: one.ended_at ? Date.parse(one.ended_at) : end,
      status: one.outcome ?? "running",
      outputs: outputs.filter((event) => event.attempt === one.attempt).map(({ at, type, seq }) => ({ at: Date.parse(at), type, seq })),
    })),
    questions: spansOf(questions, events, end),
    marks: events.filter((event) => event.kind !== "worker_output" && !PERSONAL.has(event.kind)).map((event) => ({ at: Date.parse(event.at), kind: event.kind, cursor: event.cursor })),
  };
}

/** From being asked to being settled; without the right to read questions they are taken from the events. */
function spansOf(questions, events, end) {
  const spans = new Map(questions.map((one) => [one.key, { key: one.key, from: Date.parse(one.asked_at), to: one.answered_at ? Date.parse(one.answered_at) : null, status: one.status }]));
  for (const event of events) {
    if (!PERSONAL.has(event.kind) || !event.key) continue;
    const at = Date.parse(event.at);
    if (event.kind === "senior_queried") {
      if (!spans.has(event.key)) spans.set(event.key, { key: event.key, from: at, to: null, status: "open" });
      continue;
    }
    const span = spans.get(event.key);
    if (span && span.to === null) Object.assign(span, { to: at, status: event.kind === "senior_answered" ? "answered" : event.kind.replace("question_", "") });
  }
  return [...spans.values()].map((span) => ({ ...span, to: span.to ?? end }));
}

/** Whole steps of time between the two instants, at most `count` of them. */
export function ticks(start, end, count) {
  const step = (STEPS.find((seconds) => (end - start) / (seconds * 1000) <= count) ?? STEPS.at(-1)) * 1000;
  const found = [];
  for (let at = 0; at <= end - start; at += step) found.push(at);
  return found;
}
