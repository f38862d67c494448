// Joins the parts of the page: what the connection brings goes to each of them.

import { Chat } from "./chat.js";
import { Connection } from "./connection.js";
import { byId, onChange } from "./dom.js";
import { duration } from "./format.js";
import { Key } from "./key.js";
import { drawLoad } from "./load.js";
import { drawReplicas } from "./replicas.js";
import { theme } from "./theme.js";
import { Topology } from "./topology.js";
import { drawVerify } from "./verify.js";

const topology = new Topology(byId("topology"), byId("links"));
const tiles = onChange((load) => drawLoad(byId("tiles"), load));
const replicas = onChange((...state) => drawReplicas(byId("replicas"), ...state));
const verify = onChange((record) => drawVerify(byId("verify"), record));
let lastState = null;
let lostSince = null;

function pill(kind, words) {
  byId("connection").className = `connection ${kind}`;
  if (byId("connection-text").textContent !== words) byId("connection-text").textContent = words;
}

function notice(words) {
  byId("notice").hidden = !words;
  if (byId("notice").textContent !== words) byId("notice").textContent = words;
}

function summary(state) {
  const up = state.nodes.filter((node) => node.state === "up").length;
  const serving = state.replicas.filter((replica) => replica.state === "serving").length;
  const without = state.nodes.filter((node) => node.engine && !state.replicas.some((replica) => replica.node === node.name));
  const known = state.span ? Math.max(1, state.replicas.length) : state.replicas.length + without.length;
  return `${up} of ${state.nodes.length} nodes up, ${serving} of ${known} ${known === 1 ? "replica" : "replicas"} serving`;
}

function show(state) {
  lastState = state;
  lostSince = null;
  document.title = `${state.cluster} – cluster`;
  byId("cluster-name").textContent = state.cluster;
  byId("summary").textContent = summary(state);
  byId("ray-hint").textContent = state.ray.answers ? "" : `Ray does not answer: ${state.ray.detail}`;
  document.body.classList.remove("stale");
  pill("live", "live");
  notice("");
  topology.show(state);
  tiles(state.load);
  replicas(state.replicas, state.nodes, state.load.history.slice(-150), Math.round(state.at));
  verify(state.verify);
  byId("verify-when").textContent = state.verify ? `${duration(state.at - state.verify.at)} ago` : "";
  chat.know(state);
}

const connection = new Connection({
  state: show,
  lost(why, milliseconds) {
    lostSince ??= new Date();
    document.title = "connection lost – cluster";
    document.body.classList.add("stale");
    pill("lost", "connection lost");
    const shown = lastState ? " What is shown below is as it was then." : "";
    notice(`Connection to the cluster lost at ${lostSince.toLocaleTimeString()} (${why}).${shown} Trying again every few seconds.`);
    byId("notice").dataset.retry = String(milliseconds);
  },
  refused() {
    pill("lost", "key wanted");
    notice("This cluster wants its API key.");
    key.refused();
  },
});
const key = new Key(() => connection.start());
const chat = new Chat(() => key.refused());

theme(byId("theme-button"));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("question").focus();
  }
});
connection.start();
