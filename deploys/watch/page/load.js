// Four figures of now, each with its last quarter of an hour.

import { el } from "./dom.js";
import { count, rate, seconds } from "./format.js";
import { sparkline } from "./sparkline.js";

const SPAN = 900;

function tile(label, value, unit, note, points) {
  return el(
    "div",
    { class: "tile" },
    el("h3", {}, label),
    el("p", { class: "figure" }, el("span", { class: "value" }, value), unit ? el("span", { class: "unit" }, ` ${unit}`) : null),
    sparkline(points, SPAN),
    el("p", { class: "note" }, note),
  );
}

const peak = (history, key, show) => {
  const top = Math.max(...history.map((point) => point[key] ?? 0), 0);
  return top > 0 ? `at most ${show(top)}` : "nothing yet";
};

function latency(label, known, history, key) {
  const note = known
    ? `1 in 100 above ${seconds(known.p99)}; ${count(known.count)} ${known.count === 1 ? "value" : "values"}, last minute`
    : "none in the last minute";
  return tile(label, seconds(known?.median), "", note, history.map((point) => [point.at, point[key] ?? null]));
}

export function drawLoad(place, load) {
  const history = load.history;
  const points = (key) => history.map((point) => [point.at, point[key]]);
  const waiting = load.waiting ? `${count(load.waiting)} waiting` : "none waiting";
  place.replaceChildren(
    tile("Generated", rate(load.tokens_per_second), "tokens/s", peak(history, "tokens_per_second", rate), points("tokens_per_second")),
    tile("In flight", count(load.running), load.running === 1 ? "request" : "requests", `${waiting}; ${rate(load.requests_per_second)} answered a second`, points("running")),
    latency("Time to first token", load.ttft_seconds, history, "ttft_seconds"),
    latency("Between tokens", load.inter_token_seconds, history, "inter_token_seconds"),
  );
}
