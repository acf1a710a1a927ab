// The timeline of a task: attempts as bars, their outputs as strokes, questions as spans, events as dots.
import { html, useLayoutEffect, useMemo, useRef, useState } from "../../vendor/preact.js";
import { now } from "../state/clock.js";
import { ticks, timelineOf } from "../text/chart.js";
import { countdown, moment, span } from "../text/times.js";

const LEFT = 74;
const RIGHT = 10;
const LANE = 24;
const MOST_STROKES = 400;

export function Timeline({ facts, events }) {
  const box = useRef(null);
  const [width, setWidth] = useState(800);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(280, Math.floor(entry.contentRect.width))));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const live = facts.attempts.some((one) => one.status === "live") || facts.task.status === "suspended";
  const line = useMemo(() => timelineOf(facts, events, Date.now()), [facts, events, live && now.value]);
  const place = (at) => LEFT + ((at - line.start) / (line.end - line.start)) * (width - LEFT - RIGHT);
  const lanes = [...line.attempts.map((one) => ["attempt", one]), ...(line.questions.length ? [["questions", line.questions]] : []), ["events", line.marks]];
  const height = lanes.length * LANE + 24;
  return html`<figure class="timeline" ref=${box}>
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${told(line)}>
      ${ticks(line.start, line.end, Math.max(2, Math.floor(width / 90))).map((offset) => html`<g class="tick" key=${offset}>
        <line x1=${place(line.start + offset)} x2=${place(line.start + offset)} y1="0" y2=${height - 18} /><text x=${place(line.start + offset)} y=${height - 4}>${offset ? `+${countdown(offset)}` : moment(line.start)}</text></g>`)}
      ${lanes.map(([kind, content], index) => html`<g key=${index} class=${kind} transform=${`translate(0 ${index * LANE})`}>${DRAW[kind](content, place)}</g>`)}
    </svg>
    <figcaption class="unseen">${told(line)}</figcaption>
  </figure>`;
}

const DRAW = {
  attempt: (one, place) => html`<text class="lane" x="0" y="16">Attempt ${one.number}</text>
    <rect class=${`bar ${one.status}`} x=${place(one.from)} y="5" width=${Math.max(2, place(one.to) - place(one.from))} height="14" rx="3"><title>Attempt ${one.number}: ${one.status}, ${span(one.to - one.from)}</title></rect>
    ${one.outputs.slice(-MOST_STROKES).map((output) => html`<line key=${output.seq} class=${`stroke ${output.type}`} x1=${place(output.at)} x2=${place(output.at)} y1="3" y2="21"><title>${output.type}, ${moment(output.at)}</title></line>`)}`,
  questions: (spans, place) => html`<text class="lane" x="0" y="16">Questions</text>
    ${spans.map((one) => html`<rect key=${one.key} class=${`asked ${one.status}`} x=${place(one.from)} y="7" width=${Math.max(3, place(one.to) - place(one.from))} height="10" rx="2"><title>Question ${one.status}, ${span(one.to - one.from)}</title></rect>`)}`,
  events: (marks, place) => html`<text class="lane" x="0" y="16">Events</text>
    ${marks.slice(-MOST_STROKES).map((one) => html`<circle key=${one.cursor} class=${`mark ${one.kind}`} cx=${place(one.at)} cy="12" r="4"><title>${one.kind.replaceAll("_", " ")}, ${moment(one.at)}</title></circle>`)}`,
};

function told(line) {
  const attempts = line.attempts.map((one) => `attempt ${one.number} ${one.status}, ${span(one.to - one.from)}`);
  const answered = line.questions.filter((one) => one.status === "answered").length;
  return `Timeline over ${span(line.end - line.start)}: ${attempts.join("; ") || "no attempt"}; ${line.questions.length} questions, ${answered} answered; ${line.marks.length} events.`;
}
