// /v1/watch, followed for ever: server-sent events over fetch (EventSource can send no token), with a cursor that resumes.
//
//   connecting ──answer──▶ live ──end, error, silence──▶ waiting ──pause──▶ connecting        hidden tab: paused
//
// A browser opens some six connections to one host: a tab that nobody sees gives its own back.

import { call, Unauthorized } from "./api.js";

const PAUSES_MS = [300, 1000, 2000, 4000, 8000];
const SILENCE_MS = 40_000; // the gateway comments every 15 s
const HIDDEN_MS = 10_000;

export class Stream {
  /** `onEvent(event)`, `onOpen(resumed)`, `onState(word, pause in ms)`, `onUnauthorized(text)`. */
  constructor(listeners) {
    this.listeners = listeners;
    this.cursor = "";
    this.failures = 0;
    this.controller = null;
    this.timer = 0;
    this.silence = 0;
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** Connect now, whatever was going on. */
  start() {
    this.#stop();
    this.#connect();
  }

  #stop() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.controller?.abort();
    this.controller = null;
  }

  #seen() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.#stop();
        this.listeners.onState("paused");
      }, HIDDEN_MS);
    } else if (!this.controller) {
      this.start();
    }
  }

  async #connect() {
    const controller = (this.controller = new AbortController());
    this.listeners.onState("connecting");
    try {
      const resumed = this.cursor !== "";
      const path = resumed ? `/v1/watch?since=${encodeURIComponent(this.cursor)}` : "/v1/watch";
      const answer = await call(path, { signal: controller.signal });
      this.failures = 0;
      this.listeners.onState("live");
      this.listeners.onOpen(resumed);
      await this.#read(answer.body.getReader(), controller);
    } catch (error) {
      if (error instanceof Unauthorized && controller === this.controller) {
        this.#stop();
        this.listeners.onUnauthorized(error.message);
        return;
      }
    }
    if (controller === this.controller) this.#wait();
  }

  #wait() {
    clearTimeout(this.silence);
    const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.failures += 1;
    this.listeners.onState("waiting", pause);
    this.timer = setTimeout(() => this.#connect(), pause);
  }

  async #read(reader, controller) {
    const decoder = new TextDecoder();
    let left = "";
    for (;;) {
      clearTimeout(this.silence);
      this.silence = setTimeout(() => controller.abort(), SILENCE_MS);
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (left + decoder.decode(value, { stream: true })).split("\n\n");
      left = blocks.pop();
      blocks.forEach((block) => this.#take(block));
    }
  }

  #take(block) {
    const fields = {};
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
    }
    if (fields.data) {
      const event = JSON.parse(fields.data);
      if (event.kind === "RESYNC" && !fields.id) this.cursor = ""; // of another life: it leads nowhere
      this.listeners.onEvent(event);
    }
    if (fields.id) this.cursor = fields.id;
  }
}
