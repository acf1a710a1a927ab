// The whole page: the sign-in, or the frame with the page named by the address.
import { html, useEffect, useErrorBoundary, useState } from "../../vendor/preact.js";
import { resumeSending } from "../state/answers.js";
import { setTitle } from "../state/attention.js";
import { helpShown, useKeys } from "../state/keys.js";
import { addressOf, route } from "../state/route.js";
import { held, may } from "../state/session.js";
import { nextTheme } from "../state/theme.js";
import { EventsPage } from "./events.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { InboxPage } from "./inbox.js";
import { Notices } from "./notices.js";
import { Outbox } from "./outbox.js";
import { OverviewPage } from "./overview.js";
import { SessionsPage } from "./sessions.js";
import { SignIn } from "./sign-in.js";
import { TaskPage } from "./task.js";
import { TasksPage } from "./tasks.js";
import { WorkersPage } from "./workers.js";

const PAGES = {
  inbox: ["Inbox", InboxPage],
  tasks: ["Tasks", TasksPage],
  task: ["Task", TaskPage],
  workers: ["Workers", WorkersPage],
  sessions: ["Sessions", SessionsPage],
  events: ["Events", EventsPage],
  overview: ["Overview", OverviewPage],
  webhooks: ["Webhooks", WebhooksPage],
};

export function App() {
  const signedIn = Boolean(held.value);
  useEffect(() => {
    if (signedIn) resumeSending();
  }, [signedIn]);
  return html`${signedIn ? html`<${Frame} />` : html`<${SignIn} />`}<${Notices} />`;
}

function Frame() {
  const { page: asked, id } = route.value;
  // Whoever answers questions begins with them, everybody else with the tasks.
  const page = asked || (may("senior") ? "inbox" : "tasks");
  const [name, Page] = PAGES[page] ?? ["Not found", Unknown];
  useEffect(() => setTitle(name), [name]);
  useKeys({ "\\": nextTheme });
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.getElementById("main").focus())}>Skip to the content</a>
    <${Header} page=${page} />
    <main id="main" tabindex="-1" class=${`page ${page}`}><${Guard} key=${page}><${Page} id=${id} /><//></main>
    <${Outbox} />
    ${helpShown.value && html`<${Help} />`}
  `;
}

/** Loaded with its first look, since few people open it. */
function WebhooksPage() {
  const [{ Webhooks, failed }, setLoaded] = useState({});
  useEffect(() => void import("./webhooks.js").then(setLoaded, () => setLoaded({ failed: true })), []);
  return Webhooks ? html`<${Webhooks} />` : html`<div class="blank"><h1>Webhooks</h1><p>${failed ? "The page could not be loaded. Reload it." : "Reading…"}</p></div>`;
}

function Unknown() {
  return html`<div class="blank"><h1>There is no such page</h1><p>The address may be mistyped, or of another version. <a href=${addressOf("tasks")}>Go to the tasks</a>.</p></div>`;
}

/** An error boundary: shows an error of the console itself without breaking the rest of the page. */
function Guard({ children }) {
  const [error, again] = useErrorBoundary((fault) => console.error(fault));
  if (!error) return children;
  return html`<div class="blank"><h1>The console stumbled</h1><p>${String(error.message ?? error)}</p>
    <button type="button" onClick=${again}>Try again</button></div>`;
}
