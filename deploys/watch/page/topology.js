// The cluster as a drawing: the control node on top, compute nodes below, links with their speed, replicas as chips.

import { el, onChange, svg } from "./dom.js";
import { clip, count, memory, rate, speed } from "./format.js";
import { nodeState, REPLICA, replicaState, sign } from "./states.js";

const BOX = 216;
const GAP = 22;
const LEVEL = 22; // between two rails
const CHIP = 30;

const words = (link) => [link.kind, speed(link.bits_per_second)].filter(Boolean).join(" · ");

export class Topology {
  constructor(place, list) {
    this.place = place;
    this.width = 0;
    this.draw = onChange((width, nodes, links) => this.place.replaceChildren(drawing(width, nodes, links)));
    this.listLinks = onChange((links) => list.replaceChildren(...links.map(linkLine)));
    new ResizeObserver(([entry]) => {
      this.width = Math.floor(entry.contentRect.width);
      if (this.state) this.show(this.state);
    }).observe(place);
  }

  show(state) {
    this.state = state;
    this.listLinks(state.links);
    if (!this.width) return;
    const nodes = state.nodes.map((node) => ({ ...shown(node), replicas: chips(node, state) }));
    this.draw(this.width, nodes, state.links);
  }
}

function linkLine(link) {
  return el("li", {}, el("strong", {}, words(link)), link.optional ? " (optional)" : "", `: ${link.members.join(", ")}`);
}

// Only what the drawing shows, rounded as it shows it: it is drawn again when one of these changes.
function shown(node) {
  const { name, label, address, role, state, accelerators, engine, cpus } = node;
  const share = node.memory_bytes ? Math.round((100 * (node.memory_used_bytes ?? 0)) / node.memory_bytes) : null;
  return { name, label, address, role, state, accelerators, engine, cpus, share, memory: memory(node.memory_used_bytes, node.memory_bytes) };
}

function chips(node, { replicas, span }) {
  const mine = replicas.filter((replica) => replica.node === node.name);
  // One engine over several nodes answers from one of them.
  if (!mine.length && node.engine) return [{ ...(span && replicas.length ? REPLICA.part : REPLICA.none), load: "", flow: false }];
  return mine.map((replica) => {
    const { running, waiting } = replica.requests;
    const busy = running + waiting > 0;
    const queue = waiting ? `${count(running)} + ${count(waiting)} waiting` : `${count(running)} running`;
    const load = busy ? queue : replica.tokens_per_second ? `${rate(replica.tokens_per_second)} tok/s` : "idle";
    return { ...replicaState(replica), load: replica.state === "serving" || busy ? load : "", flow: running > 0 && replicaState(replica).kind !== "bad" };
  });
}

const boxHeight = (node) => 78 + (node.memory ? 24 : 0) + node.replicas.length * CHIP + (node.replicas.length ? 4 : 0);

function drawing(width, nodes, links) {
  const control = nodes.find((node) => node.role === "control");
  const compute = nodes.filter((node) => node !== control);
  const rails = links.filter((link) => link.members.length > 2 || link.members.includes(control.name));
  const pairs = links.filter((link) => !rails.includes(link));
  const one = Math.floor((width + GAP) / (BOX + GAP));
  const left = one >= compute.length ? 0 : 14 + 12 * rails.length;
  const columns = Math.max(1, Math.min(compute.length, Math.floor((width - left + GAP) / (BOX + GAP))));
  const narrow = columns === 1 && left > 0;
  const right = narrow && pairs.length ? 16 : 0;
  const boxWidth = Math.min(330, (width - left - right - (columns - 1) * GAP) / columns);
  const places = new Map();
  const shapes = [];

  const head = { node: control, width: narrow ? width - right : Math.min(330, width), height: boxHeight(control), y: 1 };
  head.x = narrow ? 0 : (width - head.width) / 2;
  places.set(control.name, head);

  const rows = [];
  for (let index = 0; index < compute.length; index += columns) rows.push(compute.slice(index, index + columns));
  let y = head.y + head.height;
  rows.forEach((row, number) => {
    const lane = narrow ? (number ? 14 : 34 + LEVEL * (rails.length - 1)) : (number ? 6 : 30) + LEVEL * rails.length;
    const top = y + lane;
    const height = Math.max(...row.map(boxHeight));
    const used = row.length * boxWidth + (row.length - 1) * GAP;
    const start = left ? left : (width - used) / 2;
    row.forEach((node, column) => {
      places.set(node.name, { node, x: start + column * (boxWidth + GAP), y: top, width: boxWidth, height, row: number });
    });
    const joined = pairs.some((link) => link.members.every((name) => places.get(name)?.row === number));
    y = top + height + (joined && !narrow ? 34 : 0);
  });

  rails.forEach((link, index) => shapes.push(...rail(link, index, { places, head, rows, left, narrow, last: rails.length - 1 })));
  for (const link of pairs) shapes.push(...pair(link, places, narrow, width - right));
  for (const place of places.values()) shapes.push(box(place));
  const label = nodes.map((node) => `${node.label} ${node.name}: ${nodeState(node).word}${node.replicas.map((chip) => `, replica ${chip.word}`).join("")}`).join("; ");
  return svg("svg", { class: "drawing", role: "img", "aria-label": label, width, height: y + 2, viewBox: `0 0 ${width} ${y + 2}` }, shapes);
}

// A link with many members: a rail above each row of nodes, with a drop to every member; rows are joined at the left.
function rail(link, index, { places, head, rows, left, narrow, last }) {
  const shapes = [];
  const dashed = link.optional ? " optional" : "";
  const trunk = narrow ? 10 + 12 * index : 6 + 12 * index;
  const bottom = head.y + head.height;
  const members = rows.map((row) => row.filter((node) => link.members.includes(node.name)).map((node) => places.get(node.name)));
  const wire = (d) => shapes.push(svg("path", { class: `wire${dashed}`, d }));
  const flow = (place, d) => {
    if (place.node.replicas.some((chip) => chip.flow)) shapes.push(svg("path", { class: "flow", d }));
  };
  if (narrow) {
    const ends = members.flat();
    if (!ends.length) return shapes;
    const stop = ends[ends.length - 1].y + 24;
    wire(`M${trunk} ${bottom}V${stop - 8}`);
    for (const place of ends) {
      const d = `M${trunk} ${place.y + 16}q0 8 8 8H${place.x}`;
      wire(d);
      flow(place, d);
    }
    shapes.push(tag(words(link), trunk + 12 + 10 * (last - index), bottom + 17 + LEVEL * index, "start"));
    return shapes;
  }
  const level = (row) => row[0].y - 14 - LEVEL * (last - index);
  const drop = (place) => place.x + place.width / 2 + (index - last / 2) * 16;
  const down = head.x + head.width / 2 + (index - last / 2) * 16;
  const first = members.findIndex((row) => row.length);
  if (first < 0) return shapes;
  const heights = rows.map((row) => level(row.map((node) => places.get(node.name))));
  wire(`M${down} ${bottom}V${heights[0]}`);
  if (rows.length > 1) wire(`M${down} ${heights[0]}H${trunk + 8}q-8 0 -8 8V${heights[heights.length - 1] - 8}q0 8 8 8`);
  members.forEach((row, number) => {
    if (!row.length) return;
    const drops = row.map(drop);
    const from = number || left ? Math.min(...drops, number ? trunk + 8 : down) : Math.min(...drops, down);
    wire(`M${from} ${heights[number]}H${Math.max(...drops, number ? 0 : down)}`);
    row.forEach((place, column) => {
      wire(`M${drops[column]} ${heights[number]}V${place.y}`);
      const path = number ? `M${trunk} ${heights[0]}V${heights[number]}` : `M${down} ${bottom}V${heights[0]}`;
      flow(place, `${path}H${drops[column]}V${place.y}`);
    });
  });
  shapes.push(tag(words(link), down + 12, bottom + 14 + LEVEL * index * 0.9, "start"));
  return shapes;
}

// A cable between two compute nodes: below their row, or at the right where they stand one below the other.
function pair(link, places, narrow, edge) {
  const [a, b] = link.members.map((name) => places.get(name));
  const name = `wire${link.optional ? " optional" : ""}`;
  if (narrow) {
    const [above, below] = a.y < b.y ? [a, b] : [b, a];
    return [svg("path", { class: name, d: `M${edge} ${above.y + 40}h4q8 0 8 8V${below.y + 32}q0 8 -8 8h-4` })];
  }
  if (a.row !== b.row) return []; // the list below the drawing has it
  const [start, end] = [a, b].map((place) => place.x + place.width / 2).sort((x, y) => x - y);
  const bottom = a.y + a.height;
  const d = `M${start} ${bottom}v10q0 8 8 8H${end - 8}q8 0 8 -8v-10`;
  return [svg("path", { class: name, d }), tag(words(link), (start + end) / 2, bottom + 18, "middle")];
}

function tag(text, x, y, anchor) {
  const width = text.length * 6.3 + 16;
  const start = anchor === "middle" ? x - width / 2 : x;
  return svg(
    "g",
    { class: "tag" },
    svg("rect", { x: start, y: y - 9, width, height: 18, rx: 9 }),
    svg("text", { x: start + width / 2, y: y + 4, "text-anchor": "middle" }, text),
  );
}

function box({ node, x, y, width, height }) {
  const { kind, word } = nodeState(node);
  const inner = width - 24;
  const parts = node.accelerators.length ? accelerators(node.accelerators) : node.role === "control" ? "gateway, no model" : "no accelerator";
  const processors = node.cpus ? ` · ${count(node.cpus)} CPUs` : "";
  const group = svg(
    "g",
    { class: `node ${node.role} ${kind}`, transform: `translate(${x} ${y})`, "data-node": node.name, "data-state": node.state },
    svg("rect", { class: "box", width, height, rx: 12 }),
    svg("text", { class: "label", x: 12, y: 25 }, clip(node.label, Math.floor((inner - 78) / 7.8))),
    svg("text", { class: "mono", x: 12, y: 44 }, clip(`${node.name} · ${node.address}`, Math.floor(inner / 7.1))),
    svg("text", { class: "faint", x: 12, y: 63 }, clip(parts + processors, Math.floor(inner / 6.2))),
    svg("text", { class: `word ${kind}`, x: width - 12, y: 25, "text-anchor": "end" }, word),
    sign(kind, { x: width - 12 - word.length * 7.8 - 19, y: 14 }),
  );
  let top = 74;
  if (node.memory) {
    const track = Math.max(40, inner - node.memory.length * 6.2 - 10);
    group.append(
      svg("rect", { class: "track", x: 12, y: top + 4, width: track, height: 5, rx: 2.5 }),
      svg("rect", { class: "fill", x: 12, y: top + 4, width: Math.max(3, (track * (node.share ?? 0)) / 100), height: 5, rx: 2.5 }),
      svg("text", { class: "faint", x: width - 12, y: top + 11, "text-anchor": "end" }, node.memory),
    );
    top += 24;
  }
  for (const chip of node.replicas) {
    group.append(
      svg("rect", { class: `chip ${chip.kind}`, x: 12, y: top, width: inner, height: CHIP - 6, rx: 7 }),
      sign(chip.kind, { x: 19, y: top + 5 }),
      svg("text", { class: `chip-text ${chip.kind}`, x: 38, y: top + 16 }, chip.word),
      svg("text", { class: "chip-load", x: width - 20, y: top + 16, "text-anchor": "end" }, chip.load),
    );
    top += CHIP;
  }
  return group;
}

// "2 × Radeon RX 7600 XT"
function accelerators(names) {
  const each = new Map();
  for (const name of names) each.set(name, (each.get(name) ?? 0) + 1);
  return [...each].map(([name, number]) => (number > 1 ? `${number} × ${name}` : name)).join(", ");
}
