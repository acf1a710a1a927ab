// Ages and remaining times that update themselves.
import { html } from "../../vendor/preact.js";
import { now } from "../state/clock.js";
import { age, countdown, duration, exact, moment, span } from "../text/times.js";

const SOON_MS = 5 * 60_000;

/** The age of an instant. */
export function Age({ at, suffix = "" }) {
  return html`<time datetime=${at} title=${exact(at)}>${age(at, now.value)}${suffix}</time>`;
}

/** The local time, with the instant itself on hover. */
export function Moment({ at }) {
  return html`<time datetime=${at} title=${exact(at)}>${moment(at, now.value)}</time>`;
}

/** How long something took, or has taken so far, with both instants on hover. */
export function Took({ from, to }) {
  const end = to ? Date.parse(to) : now.value;
  return html`<span title=${`${exact(from)} – ${to ? exact(to) : "now"}`}>${span(end - Date.parse(from))}</span>`;
}

/** The remaining time. */
export function Left({ at }) {
  const left = Date.parse(at) - now.value;
  const urgency = left < 0 ? "over" : left < SOON_MS ? "soon" : "";
  return html`<time class=${`left ${urgency}`} datetime=${at} title=${exact(at)}>
    ${left < 0 ? `${duration(-left)} over` : `${left < SOON_MS ? countdown(left) : duration(left)} left`}
  </time>`;
}
