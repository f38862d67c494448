// Keeps /cluster/events open: says what is known, that the connection is lost, that a key is wanted; comes back by itself.

import { headers } from "./key.js";
import { messages } from "./sse.js";

const QUIET_MS = 8000; // an event comes every two seconds; four that are missing are a lost connection
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5000;
const HISTORY_SECONDS = 900;

export class Connection {
  // on: {state(state), lost(why, milliseconds), refused()}
  constructor(on) {
    this.on = on;
    this.retry = FIRST_RETRY_MS;
    this.attempt = null;
    this.timer = null;
    this.history = [];
  }

  // Begin, or begin anew with another key; what was under way ends.
  start() {
    clearTimeout(this.timer);
    this.attempt?.abort();
    this.attempt = new AbortController();
    this.listen(this.attempt);
  }

  async listen(attempt) {
    let watchdog = null;
    let why = "the connection ended";
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => attempt.abort(new Error("nothing was heard for 8 s")), QUIET_MS);
    };
    try {
      alive();
      const response = await fetch("/cluster/events", { headers: headers(), cache: "no-store", signal: attempt.signal });
      if (response.status === 401) {
        if (attempt === this.attempt) this.on.refused();
        return;
      }
      if (!response.ok) throw new Error(`the cluster answers ${response.status}`);
      let first = true;
      for await (const message of messages(response)) {
        if (attempt !== this.attempt) return;
        alive();
        if (message.event !== "state") continue;
        this.retry = FIRST_RETRY_MS;
        this.take(JSON.parse(message.data), first);
        first = false;
      }
    } catch (error) {
      why = attempt.signal.aborted ? (attempt.signal.reason?.message ?? why) : error.message;
    } finally {
      clearTimeout(watchdog);
    }
    if (attempt !== this.attempt) return;
    this.on.lost(why, this.retry);
    this.timer = setTimeout(() => this.start(), this.retry);
    this.retry = Math.min(this.retry * 2, LAST_RETRY_MS);
  }

  // The first event brings the whole history, each later one only new points.
  take(state, first) {
    const points = first ? state.load.history : [...this.history, ...state.load.history];
    this.history = points.filter((point) => point.at > state.at - HISTORY_SECONDS);
    state.load.history = this.history;
    this.on.state(state);
  }
}
