// Exponential backoff with jitter, up to a limit.

const FIRST_MS = 400;
const LONGEST_MS = 10_000;

export class Backoff {
  #next = FIRST_MS;

  /** The next pause in milliseconds, at least `least`. */
  pause(least = 0) {
    const pause = Math.max(least, this.#next * (0.7 + 0.6 * Math.random()));
    this.#next = Math.min(LONGEST_MS, this.#next * 2);
    return pause;
  }

  /** Reset after a success. */
  reset() {
    this.#next = FIRST_MS;
  }
}

/** Resolves after the pause, or at once when the signal is aborted or the network is back. */
export function rest(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
  });
}
