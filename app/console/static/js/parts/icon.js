// Icons: lines on a grid of 16, inlined so that nothing has to be loaded.
import { html } from "../../vendor/preact.js";

const PATHS = {
  inbox: "M2 9l2-6h8l2 6v4H2zM2 9h3.5l1 2h3l1-2H14",
  tasks: "M6 4h8M6 8h8M6 12h8M2.5 4h.01M2.5 8h.01M2.5 12h.01",
  overview: "M2 14h12M4 11V7M8 11V3M12 11V6",
  events: "M1.5 8h3l2-5 3 10 2-5h3",
  workers: "M2 3h12v4H2zM2 9h12v4H2zM4.500 5h.01M4.500 11h.01M9 5h3M9 11h3",
  sessions: "M6 8a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM1.5 13.5c.4-2.4 2.2-3.5 4.5-3.5s4.1 1.1 4.5 3.5M11 8.2a2.2 2.2 0 10-1-4.2M12 10.2c1.5.4 2.4 1.500 2.600 3.300",
  webhooks: "M8 6.5a2.500 2.500 0 10-2.300-1.500M8 6.500L5.500 11M4 9.500a2.300 2.300 0 102.500 2.300H11M12 9.500a2.300 2.300 0 11-1.600 3.800M12 9.500L9.500 5",
  back: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
  down: "M3 6l5 5 5-5",
  keys: "M1.500 4h13v8h-13zM4 7h.01M6.600 7h.01M9.300 7h.01M12 7h.01M5 9.700h6",
  light: "M8 11a3 3 0 100-6 3 3 0 000 6zM8 1.500v1M8 13.500v1M1.500 8h1M13.500 8h1M3.400 3.400l.7.7M11.900 11.900l.7.7M3.400 12.600l.7-.7M11.900 4.100l.7-.7",
  dark: "M13 9.500A5.500 5.500 0 116.500 3a4.500 4.500 0 006.500 6.500z",
  system: "M2 3h12v8H2zM6 14h4M8 11v3",
  bell: "M4 11V7a4 4 0 018 0v4l1 1.500H3zM6.800 14.500h2.400",
  leave: "M6 2H2.500v12H6M6.500 8H14M11 5l3 3-3 3",
  close: "M3.500 3.500l9 9M12.500 3.500l-9 9",
  pause: "M5 3v10M11 3v10",
  play: "M4.500 2.500l9 5.500-9 5.500z",
  search: "M7 12A5 5 0 107 2a5 5 0 000 10zM10.700 10.700L14 14",
  check: "M3 8.500l3.500 3.500L13 4.500",
};

/** Decoration beside a text, or alone in a control that has a label. */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}
