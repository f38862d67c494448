// The states of nodes and replicas: a word, a kind (which decides the colour) and a sign, so that colour is never alone.

import { svg } from "./dom.js";

export const REPLICA = {
  serving: { kind: "good", word: "serving" },
  starting: { kind: "busy", word: "starting" },
  draining: { kind: "busy", word: "draining" },
  wedged: { kind: "bad", word: "wedged" },
  wrong: { kind: "bad", word: "wrong answer" },
  silent: { kind: "bad", word: "silent" },
  gone: { kind: "idle", word: "gone" },
  unreadable: { kind: "bad", word: "unreadable" },
  part: { kind: "idle", word: "part of the engine" },
  none: { kind: "idle", word: "no engine answers" },
};

export const NODE = {
  up: { kind: "good", word: "up" },
  down: { kind: "bad", word: "down" },
  silent: { kind: "bad", word: "no answer" },
  unknown: { kind: "idle", word: "not known" },
};

// In a box of 16 by 16.
const SIGNS = {
  good: "M3.500 8.500l3 3 6-7",
  busy: "M8 3.200v4.800l3 2",
  bad: "M4.500 4.500l7 7M11.500 4.500l-7 7",
  idle: "M4 8h8",
};

export function sign(kind, attributes = {}) {
  return svg(
    "svg",
    { class: `sign ${kind}`, viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", ...attributes },
    kind === "busy" ? svg("circle", { cx: 8, cy: 8, r: 6 }) : null,
    svg("path", { d: SIGNS[kind] }),
  );
}

export const replicaState = (replica) => REPLICA[replica.state] ?? REPLICA.unreadable;
export const nodeState = (node) => NODE[node.state] ?? NODE.unknown;
