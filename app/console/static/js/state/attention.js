// Draws attention to new questions: a count in the title, and notifications once they are allowed.
import { effect, signal } from "../../vendor/preact.js";
import { questionLine } from "../text/title.js";
import { line } from "../text/visible.js";
import { addressOf } from "./route.js";
import { loaded, open } from "./questions.js";

const FRESH_MS = 60_000;
const supported = "Notification" in window;

/** default | granted | denied | unsupported */
export const permission = signal(supported ? Notification.permission : "unsupported");

/** Requests the permission for notifications; browsers require a click for that. */
export async function allowNotifications() {
  if (supported) permission.value = await Notification.requestPermission();
}

/** Sets the title: the count of open questions and the name of the page. */
export function setTitle(name) {
  title.value = name;
}

const title = signal("");
effect(() => {
  const count = open.value.length;
  const text = [title.value, "swarmhold"].filter(Boolean).join(" · ");
  document.title = count ? `(${count}) ${text}` : text;
});

let seen = null;
effect(() => {
  const questions = open.value;
  if (!loaded.value) return;
  const fresh = seen && questions.filter((one) => !seen.has(one.key) && Date.now() - Date.parse(one.asked_at) < FRESH_MS);
  seen = new Set([...(seen ?? []), ...questions.map((one) => one.key)].slice(-10_000));
  if (fresh?.length && document.hidden && permission.value === "granted") show(fresh, questions.length);
});

function show(fresh, total) {
  const [first] = fresh;
  const notification = new Notification(total === 1 ? "One open question" : `${total} open questions`, {
    body: `${line(first.agent, 60)}: ${questionLine(first, 140)}`,
    tag: "swarmhold-questions",
  });
  notification.onclick = () => {
    window.focus();
    location.hash = addressOf("inbox", first.key);
    notification.close();
  };
}
