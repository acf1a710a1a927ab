// A plot over time, with a text summary for screen readers.
import { html, useEffect, useRef } from "../../vendor/preact.js";
import { Plot as Canvas } from "../../vendor/plot.js";
import { isDark, theme } from "../state/theme.js";

const HEIGHT = 160;
const SHORTEST_S = 600;
const STEPS = [1, 2, 5].flatMap((step) => [0, 1, 2, 3, 4, 5, 6].map((power) => step * 10 ** power)).sort((one, other) => one - other);

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

/** Returns a colour of the theme in a form that a canvas accepts. */
function colour(element, name) {
  const probe = element.appendChild(document.createElement("span"));
  probe.className = `ink-${name}`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Extends the data to ten minutes at least, since a single point has no width. */
function widened(data) {
  const [times, ...values] = data;
  const start = (times.at(-1) ?? Date.now() / 1000) - SHORTEST_S;
  if (times.length > 1 && times[0] <= start) return data;
  return [[start, ...times], ...values.map((list) => [null, ...list])];
}

/** `series`: [{label, colour, stepped?}]; `data`: [seconds, ...values], one array each. */
export function Plot({ title, series, data, unit = String, steps = STEPS, summary }) {
  const box = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const element = box.current;
    const axis = { stroke: colour(element, "dim"), grid: { stroke: colour(element, "rule"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    plot.current = new Canvas({
      width: Math.max(200, element.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { range: (_, low, high) => [Math.min(low ?? 0, (high ?? 0) - SHORTEST_S), high ?? SHORTEST_S] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, (high ?? 1) * 1.1)] } },
      axes: [{ ...axis, space: 70, size: 26, values: (_, ticks) => ticks.map(clock) }, { incrs: steps, ...axis, size: 46, space: 34, values: (_, ticks) => ticks.map(unit) }],
      series: [{}, ...series.map((one) => ({
        label: one.label, stroke: colour(element, one.colour), width: 1.6, points: { show: false }, spanGaps: true,
        paths: one.stepped ? Canvas.paths.stepped({ align: 1 }) : undefined,
      }))],
    }, widened(data), element);
    const observer = new ResizeObserver(() => plot.current.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.current.destroy();
    };
  }, [theme.value, isDark()]);
  useEffect(() => plot.current.setData(widened(data)), [data]);
  return html`<figure class="plot"><figcaption><h2>${title}</h2>
      <ul class="legend">${series.map((one) => html`<li key=${one.label} class=${`ink-${one.colour}`}><span class="swatch" aria-hidden="true"></span>${one.label}</li>`)}</ul></figcaption>
    <div class="canvas" ref=${box} role="img" aria-label=${summary}></div></figure>`;
}
