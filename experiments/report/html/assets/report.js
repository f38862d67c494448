"use strict";
// Draws the page's charts in the colours of its theme. What is named "@x" is the style sheet's colour x, "~x" a function
// of this file. Nothing is loaded, and nothing is kept but the choice of the theme.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Map();
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  const number = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
    return size >= 1000 ? Math.round(value).toLocaleString("en") : `${+value.toPrecision(3)}`;
  };
  const unit = (value, scale, name) => (value === null || value === undefined || Number.isNaN(+value) ? "–" : `${number(value * scale)} ${name}`);
  const clock = (value) => {
    const whole = Math.abs(Math.round(value));
    return `${value < -0.5 ? "-" : ""}${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };
  const escaped = (text) => echarts.format.encodeHTML(String(text));
  const last = (value) => (Array.isArray(value) ? value[value.length - 1] : value);
  const size = (value) => {
    for (const [limit, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (Math.abs(value) >= limit) return unit(value, 1 / limit, name);
    }
    return unit(value, 1, "B");
  };

  const functions = {
    number,
    count: (value) => number(value),
    rate: (value) => number(value),
    ms: (value) => number(value),
    seconds: (value) => (Math.abs(value) < 1 && value !== 0 ? unit(value, 1e3, "ms") : unit(value, 1, "s")),
    bytes: size,
    percent: (value) => (value === null || value === undefined || Number.isNaN(value) ? "–" : `${number(value * 100)} %`),
    signed: (value) => `${value > 0 ? "+" : ""}${number(value)} %`,
    times: (value) => `${number(value)} x`,
    clock,
    pointer: (shown) => clock(shown.value),
    load: (point) => `<b>${escaped(point.name)}</b><br>${number(point.value[0])} answers/s<br>${escaped(point.seriesName)} ${number(point.value[1])} ms`,
    cell: (cell) => `${escaped(cell.value[4])}, from ${cell.value[3]}<br>${escaped(cell.seriesName)} <b>${number(cell.value[2])}</b>`,
    row: (point) => `${escaped(point.seriesName)}: <b>${point.componentSubType === "custom" ? point.value.slice(1).map(number).join(" to ") : number(point.value[0])}</b>`,
    // A vertical range with end strokes, at one x.
    range: (parameters, api) => {
      const low = api.coord([api.value(0), api.value(1)]);
      const high = api.coord([api.value(0), api.value(2)]);
      const style = { stroke: api.visual("color"), lineWidth: 1.5, fill: null, opacity: 0.7 };
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
      return {
        type: "group",
        children: [line(low[0], low[1], high[0], high[1]), line(low[0] - 5, low[1], low[0] + 5, low[1]), line(high[0] - 5, high[1], high[0] + 5, high[1])],
      };
    },
    // A horizontal range in one row.
    span: (parameters, api) => {
      const low = api.coord([api.value(1), api.value(0)]);
      const high = api.coord([api.value(2), api.value(0)]);
      return {
        type: "rect",
        shape: { x: low[0], y: low[1] - 6, width: Math.max(2, high[0] - low[0]), height: 12, r: 3 },
        style: { fill: api.visual("color"), opacity: 0.45 },
      };
    },
  };

  const colour = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const resolved = (value) => {
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolved(one)]));
    if (typeof value !== "string") return value;
    if (value === "inherit") return getComputedStyle(document.body).fontFamily;
    if (/^@[a-z]+\d?$/.test(value)) return colour(value.slice(1));
    return value[0] === "~" && functions[value.slice(1)] ? functions[value.slice(1)] : value;
  };

  const draw = (element) => {
    const chart = charts[element.id];
    const choice = document.getElementById(`${element.id}-choice`);
    const option = choice ? chart.choices[choice.value] : chart.option;
    let instance = drawn.get(element);
    const zoom = instance?.getOption()?.dataZoom?.[0];
    if (!instance) {
      element.style.height = `${element.dataset.height}px`;
      instance = echarts.init(element, null, { renderer: "canvas" });
      drawn.set(element, instance);
    }
    const made = resolved(option);
    if (element.clientWidth < 520) narrow(made);
    if (zoom && made.dataZoom) Object.assign(made.dataZoom[0], { start: zoom.start, end: zoom.end });
    instance.setOption(made, { notMerge: true });
  };
  const narrow = (option) => {
    for (const one of [option.yAxis].flat()) {
      if (one?.axisLabel?.width) one.axisLabel.width = 96;
      if (one?.axisLabel) one.axisLabel.fontSize = 11;
    }
    for (const one of option.series) {
      // No room for names: the letters, which the table below has too.
      for (const [start] of one.markArea?.data ?? []) start.name = start.name.split(":")[0];
      for (const [place, line] of (one.markLine?.data ?? []).entries()) if (line.label && place % 2) line.label.show = false;
    }
    for (const one of [option.grid].flat()) if (one && one.left === 56) one.left = 44;
  };
  const all = () => document.querySelectorAll(".chart").forEach((element) => drawn.has(element) && draw(element));

  // A chart is drawn when it comes near, so that a long report opens at once; all of them before it is printed.
  const near = new IntersectionObserver((seen) => {
    for (const one of seen) {
      if (one.isIntersecting) {
        near.unobserve(one.target);
        draw(one.target);
      }
    }
  }, { rootMargin: "600px" });
  document.querySelectorAll(".chart").forEach((element) => {
    element.style.height = `${element.dataset.height}px`;
    near.observe(element);
  });
  addEventListener("beforeprint", () => document.querySelectorAll(".chart").forEach(draw));
  document.querySelectorAll("select[data-chart]").forEach((choice) => {
    choice.addEventListener("change", () => draw(document.getElementById(choice.dataset.chart)));
  });

  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    for (const [element, instance] of drawn) {
      instance.resize();
      draw(element);
    }
  });

  const button = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("cluster-report-theme") ?? "auto";
  } catch { /* a browser that keeps nothing of files */ }
  const dress = () => {
    if (!themes.includes(theme)) theme = "auto";
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    all();
  };
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try {
      localStorage.setItem("cluster-report-theme", theme);
    } catch { /* as above */ }
    dress();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  dress();
  document.documentElement.dataset.ready = "yes";
})();
