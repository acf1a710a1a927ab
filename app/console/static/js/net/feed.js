// The event feed, followed while it has listeners. After a broken connection it continues at its cursor.
import { signal } from "../../vendor/preact.js";
import { Backoff, rest } from "./backoff.js";
import { messagesOf } from "./messages.js";
import { parse } from "../text/json.js";

const SILENCE_MS = 45_000;
const BATCH_MS = 100;

export class Feed {
  #credential;
  #query;
  #listeners = new Set();
  #stop = null;
  #batch = [];
  #timer = 0;
  #onRefused;

  /** `query` filters the feed; `onRefused(status)` is called when the credential is no longer valid. */
  constructor(credential, { query = {}, onRefused = () => {} } = {}) {
    this.#credential = credential;
    this.#query = query;
    this.#onRefused = onRefused;
    this.cursor = null;
    /** connecting | live | offline */
    this.state = signal("connecting");
  }

  /** Calls `listener(events)` with every batch; returns a function that unsubscribes. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Start, or continue after `stop`. */
  start() {
    if (this.#stop) return;
    this.#stop = new AbortController();
    this.#run(this.#stop.signal);
  }

  /** Close the connection; `start` continues at the cursor. */
  stop() {
    this.#stop?.abort();
    this.#stop = null;
  }

  async #run(ending) {
    const backoff = new Backoff();
    while (!ending.aborted) {
      const status = await this.#follow(ending, backoff).catch(() => 0);
      if (ending.aborted) return;
      if (status === 401 || status === 403) {
        this.#onRefused(status);
        return;
      }
      // The request is invalid: repeating it would not help.
      if (status === 400 || status === 404) return;
      this.state.value = "offline";
      await rest(backoff.pause(), ending);
      if (!ending.aborted) this.state.value = "connecting";
    }
  }

  async #follow(ending, backoff) {
    const connection = new AbortController();
    const end = () => connection.abort();
    ending.addEventListener("abort", end);
    let silence = setTimeout(end, SILENCE_MS);
    try {
      const reply = await fetch(this.#address(), { headers: this.#headers(), cache: "no-store", signal: connection.signal });
      if (!reply.ok) return reply.status;
      backoff.reset();
      this.state.value = "live";
      for await (const message of messagesOf(reply.body)) {
        clearTimeout(silence);
        silence = setTimeout(end, SILENCE_MS);
        if (message) this.#take(message);
      }
      return 200;
    } finally {
      clearTimeout(silence);
      ending.removeEventListener("abort", end);
      connection.abort();
    }
  }

  #address() {
    return `/v1/operator/events?${new URLSearchParams(this.#query)}`;
  }

  #headers() {
    const headers = { Authorization: `Bearer ${this.#credential}` };
    if (this.cursor !== null) headers["Last-Event-ID"] = this.cursor;
    return headers;
  }

  #take(message) {
    if (message.id) this.cursor = message.id;
    if (message.event === "lagged") return;
    this.#batch.push(parse(message.data));
    this.#timer ||= setTimeout(() => this.#give(), BATCH_MS);
  }

  #give() {
    const batch = this.#batch;
    this.#batch = [];
    this.#timer = 0;
    for (const listener of [...this.#listeners]) listener(batch);
  }
}
