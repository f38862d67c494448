// Every replica in words: its state and since when, its load, its last proof.

import { el, svg } from "./dom.js";
import { count, duration, percent, rate, seconds } from "./format.js";
import { sparkline } from "./sparkline.js";
import { replicaState, sign } from "./states.js";

const SPAN = 300;

function bar(share) {
  if (typeof share !== "number") return null;
  const width = Math.max(0, Math.min(1, share)) * 60;
  return svg(
    "svg",
    { class: "bar-of", viewBox: "0 0 60 6", width: 60, height: 6, "aria-hidden": "true" },
    svg("rect", { class: "track", width: 60, height: 6, rx: 3 }),
    svg("rect", { class: "fill", width: width.toFixed(1), height: 6, rx: 3 }),
  );
}

function lastProof(proofs, now) {
  if (!proofs?.last) return [el("span", {}, "none yet")];
  const { last } = proofs;
  const kind = last.correct ? "good" : "bad";
  return [
    el("span", { class: `state ${kind}` }, sign(kind), last.correct ? "correct" : "not correct"),
    el("small", {}, `${seconds(last.seconds)}, ${duration(now - last.at)} ago`),
    el("small", {}, `${count(proofs.asked)} asked, ${count(proofs.failed)} failed`),
  ];
}

const cell = (label, ...content) => el("td", { "data-label": label }, el("div", { class: "cell" }, ...content));

function row(replica, nodes, history, now, several) {
  const { kind, word } = replicaState(replica);
  const node = nodes.find((entry) => entry.name === replica.node);
  const points = history.map((point) => [point.at, point.replicas[`${replica.node}:${replica.port}`]?.[0] ?? null]);
  const since = replica.since ? `for ${duration(now - replica.since)}` : "";
  const more = replica.reason || (replica.proofs?.last && !replica.proofs.last.correct ? replica.proofs.last.detail : "");
  return [
    el(
      "tr",
      { class: `row ${kind}`, "data-replica": replica.replica, "data-state": replica.state },
      el(
        "th",
        { scope: "row" },
        el("span", { class: "who" }, node?.label ?? replica.node),
        el("small", { class: "mono" }, `${replica.node} · ${replica.address}:${replica.port}`),
        el("small", { class: "mono" }, replica.replica || "never heard"),
        several ? el("small", { class: "mono" }, replica.model) : null,
      ),
      cell("State", el("span", { class: `state ${kind}` }, sign(kind), word), el("small", {}, since), more ? el("small", { class: "reason" }, more) : null),
      cell("Requests", el("span", {}, `${count(replica.requests.running)} running`), el("small", {}, `${count(replica.requests.waiting)} waiting, ${count(replica.requests.finished)} done`)),
      cell("Tokens/s", el("span", {}, rate(replica.tokens_per_second)), sparkline(points, SPAN)),
      cell("KV cache", el("span", {}, percent(replica.kv_cache_usage)), bar(replica.kv_cache_usage)),
      cell("Last proof", ...lastProof(replica.proofs, now)),
    ),
  ];
}

export function drawReplicas(place, replicas, nodes, history, now) {
  if (!replicas.length) {
    place.replaceChildren(el("p", { class: "empty" }, "No engine answers yet. They appear here as they start."));
    return;
  }
  const several = new Set(replicas.map((replica) => replica.model).filter(Boolean)).size > 1;
  const columns = ["Node", "State", "Requests", "Tokens/s", "KV cache", "Last proof"];
  place.replaceChildren(
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, replicas.map((replica) => row(replica, nodes, history, now, several))),
    ),
  );
}
