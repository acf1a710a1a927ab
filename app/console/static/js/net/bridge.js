// The WebSocket of a senior. The server sends new questions, and on every connect all open ones.
import { signal } from "../../vendor/preact.js";
import { Backoff, rest } from "./backoff.js";
import { parse } from "../text/json.js";

const PING_MS = 20_000;
const REFUSED = new Set([4401, 4403]);
const REPLACED = 4409;

export class Bridge {
  #credential;
  #on;
  #stop = null;
  #socket = null;

  /** `on` has a handler per frame type, and `refused(code)` for an invalid credential. */
  constructor(credential, id, on) {
    this.#credential = credential;
    this.#on = on;
    this.id = id;
    /** connecting | live | offline | replaced */
    this.state = signal("connecting");
  }

  /** Connect, and reconnect whenever the connection breaks. */
  start() {
    if (this.#stop) return;
    this.#stop = new AbortController();
    this.#run(this.#stop.signal);
  }

  /** Disconnect and do not reconnect. */
  stop() {
    this.#stop?.abort();
    this.#stop = null;
    this.#socket?.close(1000);
  }

  /** Send a frame; without a connection it is lost. */
  send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  /** Take the id back from the connection that replaced this one. */
  retake() {
    this.stop();
    this.start();
  }

  async #run(ending) {
    const backoff = new Backoff();
    while (!ending.aborted) {
      this.state.value = "connecting";
      const code = await this.#connection(ending, backoff);
      if (ending.aborted) return;
      if (REFUSED.has(code)) return this.#on.refused(code);
      if (code === REPLACED) {
        this.state.value = "replaced";
        return;
      }
      this.state.value = "offline";
      await rest(backoff.pause(), ending);
    }
  }

  #connection(ending, backoff) {
    return new Promise((resolve) => {
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const address = `${scheme}://${location.host}/v1/senior/bridges/${encodeURIComponent(this.id)}/ws`;
      const socket = new WebSocket(address, ["swarmhold.v1", `swarmhold.bearer.${this.#credential}`]);
      this.#socket = socket;
      let heard = true;
      const ping = setInterval(() => {
        if (!heard) socket.close(4000);
        heard = false;
        if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
      }, PING_MS);
      socket.onmessage = (message) => {
        heard = true;
        const frame = parse(message.data);
        if (frame.type === "welcome") {
          backoff.reset();
          this.state.value = "live";
        }
        if (!ending.aborted) this.#on[frame.type]?.(frame);
      };
      socket.onclose = (event) => {
        clearInterval(ping);
        resolve(event.code);
      };
    });
  }
}
