// The header: navigation, state of the connection, and who is signed in.
import { html } from "../../vendor/preact.js";
import { Icon } from "../parts/icon.js";
import { helpShown } from "../state/keys.js";
import { bridge, retryNow, standing } from "../state/live.js";
import { sendWaiting, unanswered } from "../state/answers.js";
import { addressOf } from "../state/route.js";
import { held, may, roles, signOut } from "../state/session.js";
import { nextTheme, theme } from "../state/theme.js";
import { line } from "../text/visible.js";
import { PausedBanner } from "./pausing.js";

const PAGES = [
  ["inbox", "Inbox"],
  ["tasks", "Tasks"],
  ["overview", "Overview"],
  ["workers", "Workers"],
  ["events", "Events"],
  ["sessions", "Sessions"],
  ["webhooks", "Webhooks"],
];

export function Header({ page }) {
  const current = page === "task" ? "tasks" : page;
  const { namespace } = held.value;
  return html`
    <header class="head">
      <nav aria-label="Pages">
        <ul>
          ${PAGES.map(([name, label]) => html`<li key=${name}>
            <a href=${addressOf(name)} aria-current=${name === current ? "page" : undefined}>
              <${Icon} name=${name} /><span class="label">${label}</span>
              ${name === "inbox" && may("senior") && unanswered.value.length > 0 && html`<span class="count" aria-label=${`${unanswered.value.length} open`}>${unanswered.value.length}</span>`}
            </a></li>`)}
        </ul>
      </nav>
      <div class="who">
        <${Standing} />
        <span class="name" title=${`${roles.value.join(", ")}${namespace ? ` in the namespace ${namespace}` : ""}`}>${line(held.value.name, 24)}${namespace && namespace !== "default" && html` <span class="tag">${line(namespace, 24)}</span>`}</span>
        <button class="quiet" type="button" onClick=${() => (helpShown.value = true)} aria-label="Keys" title="Keys (?)"><${Icon} name="keys" /></button>
        <button class="quiet" type="button" onClick=${nextTheme} aria-label=${`Theme: ${theme.value}`} title=${`Theme: ${theme.value} (\\)`}><${Icon} name=${theme.value} /></button>
        <button class="quiet" type="button" onClick=${() => sendWaiting().then(signOut)} aria-label="Sign out" title="Sign out"><${Icon} name="leave" /></button>
      </div>
    </header>
    <${Banner} />
    <div class="banner" role="status"><${PausedBanner} /></div>
  `;
}

function Standing() {
  const words = { live: "live", connecting: "connecting", offline: "offline", replaced: "taken over" };
  return html`<span class=${`standing ${standing.value}`} title="The connection to the server"><span class="dot" aria-hidden="true"></span><span class="label">${words[standing.value]}</span></span>`;
}

/** Always in the document, so that screen readers announce changes. */
function Banner() {
  const states = {
    offline: ["Offline, retrying. What you send is kept and goes out when the server is back.", "Retry now"],
    replaced: [`Another window receives the questions for ${bridge.value?.id} now.`, "Take them back"],
  };
  const [text, action] = states[standing.value] ?? [];
  return html`<div class="banner" role="status">${text && html`<p>${line(text, 300)} <button type="button" onClick=${retryNow}>${action}</button></p>`}</div>`;
}
