// What `cluster verify` found last: that all holds, or each failure with what to do.

import { el } from "./dom.js";
import { count, seconds } from "./format.js";
import { sign } from "./states.js";

const head = (kind, ...words) => el("p", { class: `verdict ${kind}` }, sign(kind, { width: 18, height: 18 }), el("span", {}, ...words));

function failure({ name, ok, detail, remedy }) {
  const kind = ok === false ? "bad" : "busy";
  return el(
    "li",
    { class: `failure ${kind}` },
    el("p", {}, sign(kind), el("span", { class: "name" }, name), el("span", { class: "sr" }, ok === false ? " does not hold: " : " could not be told: "), el("span", {}, detail)),
    remedy ? el("p", { class: "remedy" }, `→ ${remedy}`) : null,
  );
}

export function drawVerify(place, record) {
  if (!record) {
    place.replaceChildren(el("p", { class: "empty" }, "Not verified yet. Run ", el("code", {}, "cluster verify"), " and its result is shown here."));
    return;
  }
  const failed = record.failures.filter((entry) => entry.ok === false).length;
  const unknown = record.failures.length - failed;
  const checks = record.checks === null ? "" : ` of ${count(record.checks)} checks`;
  const took = record.seconds === null ? "" : ` Taken in ${seconds(record.seconds)}.`;
  const parts = [failed ? `${failed}${checks} ${failed === 1 ? "does" : "do"} not hold` : "", unknown ? `${unknown} could not be told` : ""];
  const verdict = record.ok
    ? head("good", `All ${record.checks === null ? "" : `${count(record.checks)} `}checks hold.${took}`)
    : head(failed ? "bad" : "busy", `${parts.filter(Boolean).join(", ") || "It does not hold"}.${took}`);
  const ordered = [...record.failures].sort((one, other) => Number(one.ok !== false) - Number(other.ok !== false));
  place.replaceChildren(verdict, ordered.length ? el("ul", { class: "failures" }, ordered.map(failure)) : "");
}
