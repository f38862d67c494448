// A line over the last minutes: the right edge is the last point, gaps stay gaps.

import { svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 48;

// `points`: [unix seconds, value or null], in order; `span` in seconds. Decoration: the numbers beside it are the text.
export function sparkline(points, span, attributes = {}) {
  const end = points.length ? points[points.length - 1][0] : 0;
  const top = Math.max(...points.map(([, value]) => value ?? 0), 1e-9);
  const x = (at) => (WIDTH * (1 - (end - at) / span)).toFixed(1);
  const y = (value) => (HEIGHT - 3 - (HEIGHT - 8) * (value / top)).toFixed(1);
  const runs = [];
  let run = null;
  for (const [at, value] of points) {
    if (end - at > span) continue;
    if (value === null || value === undefined) run = null;
    else {
      if (!run) runs.push((run = []));
      run.push([x(at), y(value)]);
    }
  }
  const line = (pairs) => `M${pairs.map((pair) => pair.join(" ")).join("L")}`;
  const area = (pairs) => `${line(pairs)}L${pairs[pairs.length - 1][0]} ${HEIGHT}L${pairs[0][0]} ${HEIGHT}Z`;
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true", ...attributes },
    svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
    runs.map((pairs) => svg("path", { class: "area", d: area(pairs) })),
    runs.map((pairs) => svg("path", { class: "line", d: pairs.length > 1 ? line(pairs) : `${line(pairs)}h1` })),
  );
}
