// All data of one task: what it waits for, its attempts and outputs, its history from the feed.
import { signal } from "../../vendor/preact.js";
import { Feed } from "../net/feed.js";
import { ask, may, reader, sessionEnded } from "./session.js";
import { questionsOfTask } from "./questions.js";
import { childrenOf } from "./tasks.js";

const SETTLE_MS = 250;
const MOST_EVENTS = 5_000;

export class TaskStory {
  #feed;
  #timer = 0;
  #reading = false;
  #again = false;

  constructor(id) {
    this.id = id;
    /** {task, why, attempts, late: Map, questions, children, used} or null */
    this.facts = signal(null);
    this.events = signal([]);
    this.problem = signal(null);
    this.#feed = new Feed(reader.value, { query: { after: 0, task: id }, onRefused: sessionEnded });
  }

  /** Reads everything, again after every event. Returns a function that stops it. */
  watch() {
    this.#feed.listen((events) => {
      this.events.value = [...this.events.value, ...events].slice(-MOST_EVENTS);
      this.#timer ||= setTimeout(() => this.read(), SETTLE_MS);
    });
    this.#feed.start();
    this.read();
    return () => {
      clearTimeout(this.#timer);
      this.#feed.stop();
    };
  }

  /** Reads everything now. A request made meanwhile causes one more read. */
  async read() {
    this.#timer = 0;
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = true;
    try {
      this.facts.value = await this.#facts();
      this.problem.value = null;
    } catch (problem) {
      this.problem.value = problem;
    }
    this.#reading = false;
    if (this.#again) {
      this.#again = false;
      this.#timer ||= setTimeout(() => this.read(), SETTLE_MS);
    }
  }

  async #facts() {
    const path = `/v1/operator/tasks/${encodeURIComponent(this.id)}`;
    const [task, why, attempts, children, questions, used] = await Promise.all([
      ask("any", "GET", path),
      ask("any", "GET", `${path}/why`),
      every(`${path}/attempts`),
      childrenOf(this.id),
      may("senior") ? questionsOfTask(this.id) : [],
      ask("any", "GET", `${path}/usage`),
    ]);
    const late = new Map();
    for (const { attempt, late_results: count } of attempts)
      if (count) late.set(attempt, await every(attemptPath(task.id, attempt, "/late")));
    return { task, why, attempts, late, questions, children, used };
  }
}

/** Returns the address of an attempt, or of something below it. */
export const attemptPath = (taskId, attempt, rest = "") =>
  `/v1/operator/tasks/${encodeURIComponent(taskId)}/attempts/${attempt}${rest}`;

/** The outputs of an attempt behind a number, in order; of long ones the size. Throws Problem. */
export const outputsBehind = ({ task_id: id, attempt }, after) => every(attemptPath(id, attempt, "/output"), "after", after);

/** The items of every page of a list. */
async function every(path, name = "cursor", from = null) {
  const items = [];
  let cursor = from;
  do {
    const page = await ask("any", "GET", path, { query: { [name]: cursor } });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return items;
}
