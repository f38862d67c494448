// A conversation with the cluster over its own API; every answer says which node gave it, and how fast.

import { byId, el } from "./dom.js";
import { count, rate, seconds } from "./format.js";
import { headers } from "./key.js";
import { messages } from "./sse.js";
import { sign } from "./states.js";

const MAX_TOKENS = 512;
const PATIENCE_MS = 120_000; // without a word for so long, the page gives up and says so

// The conversation is longer than the model's context; a shorter one would be answered.
class ContextFull extends Error {}

// What an error answer says, in OpenAI's shape or in any other.
async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // no JSON: the status has to do
  }
  const said = error.message ?? "";
  const wait = response.headers.get("retry-after");
  const text = `${response.status}: ${said || response.statusText || "refused"}${wait ? ` (try again in ${wait} s)` : ""}`;
  const full = response.status === 400 && (error.code === "context_length_exceeded" || said.includes("maximum context length"));
  return full ? new ContextFull(text) : new Error(text);
}

export class Chat {
  // `refused` is called when the cluster wants a key.
  constructor(refused) {
    this.refused = refused;
    this.nodes = [];
    this.turns = [];
    this.running = null;
    this.log = byId("log");
    this.question = byId("question");
    this.model = byId("model");
    this.temperature = byId("temperature");
    this.welcome();
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.running) this.stop();
      else this.ask();
    });
    this.question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.running) this.ask();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.stop();
    });
    byId("clear").addEventListener("click", () => {
      this.stop();
      this.turns = [];
      this.welcome();
      this.question.focus();
    });
  }

  welcome() {
    this.log.replaceChildren(el("p", { class: "empty" }, "Answers stream in here, each with the node that gave it."));
  }

  know(state) {
    this.nodes = state.nodes;
    const wanted = state.models.join("\n");
    if (this.model.dataset.models === wanted) return;
    this.model.dataset.models = wanted;
    const chosen = this.model.value;
    this.model.replaceChildren(...state.models.map((name) => el("option", { value: name, selected: name === chosen }, name)));
  }

  stop() {
    this.running?.abort(new Error("stopped"));
  }

  add(...children) {
    this.log.querySelector(".empty")?.remove();
    const turn = el("article", {}, ...children);
    this.log.append(turn);
    this.log.scrollTop = this.log.scrollHeight;
    return turn;
  }

  follow(change) {
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    change();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  async ask() {
    const question = this.question.value.trim();
    if (!question) return;
    this.question.value = "";
    this.add(el("h3", { class: "sr" }, "You"), el("p", { class: "text" }, question)).className = "turn you";
    const text = el("p", { class: "text" });
    const meta = el("p", { class: "meta" }, "waiting for the first token");
    const turn = this.add(el("h3", { class: "sr" }, "Answer"), text, meta);
    turn.className = "turn answer";
    turn.setAttribute("aria-busy", "true");
    const said = { model: this.model.value, tokens: 0 };
    const asked = { role: "user", content: question };
    this.busy(true);
    try {
      await this.streamWhatFits(asked, said, (part) => this.follow(() => text.append(part)), () => this.follow(() => this.describe(meta, said)));
      if (!text.textContent) said.problem = this.turns.length ? "the answer is empty; New chat asks without what was said before" : "the answer is empty";
    } catch (error) {
      said.problem = this.running?.signal.aborted ? this.running.signal.reason.message : error.message;
    }
    this.busy(false);
    // What has been answered, if only in part, is the context of the next question. What has not is there to be sent again.
    if (text.textContent) this.turns.push(asked, { role: "assistant", content: text.textContent });
    else if (!this.question.value) this.question.value = question;
    turn.classList.toggle("failed", Boolean(said.problem));
    this.follow(() => this.describe(meta, said));
    turn.removeAttribute("aria-busy");
  }

  busy(busy) {
    this.running = busy ? new AbortController() : null;
    byId("send").textContent = busy ? "Stop" : "Send";
    byId("send").classList.toggle("stop", busy);
  }

  // The oldest turns are left out where the conversation is longer than the model can read.
  async streamWhatFits(asked, said, grow, describe) {
    for (;;) {
      try {
        return await this.stream([...this.turns, asked], said, grow, describe);
      } catch (error) {
        if (!(error instanceof ContextFull) || !this.turns.length) throw error;
        this.turns.splice(0, 2);
        said.leftOut = (said.leftOut ?? 0) + 1;
      }
    }
  }

  async stream(asked, said, grow, describe) {
    const { running } = this;
    let patience = null;
    const alive = () => {
      clearTimeout(patience);
      patience = setTimeout(() => running.abort(new Error(`no word for ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
    };
    const began = performance.now();
    try {
      alive();
      const response = await fetch("/v1/chat/completions", {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers() },
        body: JSON.stringify({
          ...(said.model ? { model: said.model } : {}),
          messages: asked,
          max_tokens: MAX_TOKENS,
          temperature: this.temperature.valueAsNumber || 0,
          stream: true,
          stream_options: { include_usage: true },
        }),
        signal: running.signal,
      });
      said.node = response.headers.get("x-cluster-node");
      said.address = response.headers.get("x-cluster-address");
      said.replica = response.headers.get("x-cluster-replica");
      if (response.status === 401) this.refused();
      if (!response.ok) throw await refusal(response);
      let finished = false;
      let last = began;
      for await (const { data } of messages(response)) {
        alive();
        if (data === "[DONE]") {
          finished = true;
          break;
        }
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message ?? "the engine failed");
        said.model = chunk.model ?? said.model;
        const part = chunk.choices?.[0]?.delta?.content;
        if (part) {
          last = performance.now();
          said.first ??= (last - began) / 1000;
          said.tokens += 1;
          grow(part);
        }
        if (chunk.usage?.completion_tokens) said.tokens = chunk.usage.completion_tokens;
        const streaming = (last - began) / 1000 - (said.first ?? 0);
        said.speed = said.tokens > 1 && streaming > 0 ? (said.tokens - 1) / streaming : null;
        describe();
      }
      if (!finished) throw new Error("the answer broke off; what came is above");
    } finally {
      clearTimeout(patience);
    }
  }

  // "Worker Node #1 · worker1 · 127.0.0.11", then replica, first token, speed.
  describe(place, said) {
    const node = this.nodes.find((entry) => entry.name === said.node);
    const where = said.node ? [node?.label, said.node, said.address].filter(Boolean).join(" · ") : "";
    const facts = [
      said.replica ? `replica ${said.replica}` : "",
      said.first === undefined ? "" : `first token after ${seconds(said.first)}`,
      said.speed ? `${rate(said.speed)} tokens/s` : "",
      said.tokens ? `${count(said.tokens)} ${said.tokens === 1 ? "token" : "tokens"}` : "",
      said.first === undefined ? "" : said.model,
      said.leftOut ? `without the ${said.leftOut === 1 ? "oldest turn" : `${said.leftOut} oldest turns`}, for which the model has no room` : "",
    ].filter(Boolean);
    place.replaceChildren(
      ...[
        said.problem ? el("span", { class: "problem" }, sign("bad"), said.problem) : null,
        where ? el("span", { class: "where" }, where) : null,
        ...facts.map((fact) => el("span", {}, fact)),
      ].filter(Boolean),
    );
  }
}
