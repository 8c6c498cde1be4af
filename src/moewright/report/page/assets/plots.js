// Draws every `figure[data-plot]` with uPlot, from the values that the page carries under the plot's name.
"use strict";
(() => {
  const MANY = 12;  // From here on series have no legend, and are pale until one is pointed at.
  const letters = (value) => Math.abs(value) >= 1e4 || Number.isInteger(value) ? moewright.count(value, 3).replace(/\.0+(?=[A-Z]|$)/, "") : String(Number(value.toPrecision(4)));

  // Ticks of a logarithmic axis: 1, 2 and 5 of each decade where there is room, else powers of ten.
  function logTicks(low, high) {
    const decades = Math.log10(high / low);
    const steps = decades < 1.2 ? [1, 1.5, 2, 3, 4, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
    const every = decades > 9 ? 2 : 1;
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += every)
      for (const step of steps) {
        const tick = step * 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) found.push(tick);
      }
    return found;
  }

  // A logarithmic scale ends a little beyond the values, not at the next power of ten, which may be far from them.
  function scale(isLog) {
    if (!isLog) return { distr: 1 };
    return { distr: 3, range: (_, low, high) => (low === null ? [1, 10] : [low / Math.max(high / low, 1.1) ** 0.04, high * Math.max(high / low, 1.1) ** 0.04]) };
  }

  function seriesOf(spec) {
    const rows = [spec.x];
    const series = [{ label: spec.xLabel, value: (_, value) => (value === null ? "" : letters(value)) }];
    const bands = [];
    const many = spec.series.length > MANY;
    for (const one of spec.series) {
      const stroke = () => moewright.colour(`--plot-${one.group % 6}`);
      const faded = () => stroke().replace("rgb(", "rgba(").replace(")", many ? ", 0.55)" : ", 1)");
      if (one.low) {
        rows.push(one.high, one.low);
        for (const end of ["high", "low"]) series.push({ label: `${one.name}, ${end}`, stroke: "transparent", points: { show: false }, value: (_, value) => (value === null ? "" : value.toPrecision(4)) });
        bands.push({ series: [rows.length - 2, rows.length - 1], fill: () => stroke().replace("rgb(", "rgba(").replace(")", ", 0.2)") });
      }
      rows.push(one.y);
      series.push({
        label: one.name,
        stroke: faded,
        width: many ? 1 : 2,
        paths: one.points ? () => null : undefined,
        points: one.points ? { show: true, size: 7, fill: () => stroke().replace("rgb(", "rgba(").replace(")", ", 0.55)"), width: 0 } : { show: false },
        spanGaps: true,
        value: (_, value) => (value === null ? "" : value.toPrecision(5)),
      });
    }
    return { rows, series, bands, many };
  }

  // Where a law is asked beyond its runs.
  function shadeBeyond(plot, inside) {
    if (!inside) return;
    const { ctx, bbox } = plot;
    const [from, to] = inside.map((value) => plot.valToPos(value, "x", true));
    ctx.save();
    ctx.fillStyle = moewright.colour("--beyond");
    const right = bbox.left + bbox.width;
    if (from > bbox.left + 1) ctx.fillRect(bbox.left, bbox.top, from - bbox.left, bbox.height);
    if (to < right - 1) ctx.fillRect(to, bbox.top, right - to, bbox.height);
    ctx.restore();
  }

  function axis(label, isLog) {
    const told = {
      label,
      labelGap: 2,
      stroke: () => moewright.colour("--muted"),
      grid: { stroke: () => moewright.colour("--line"), width: 1 },
      ticks: { stroke: () => moewright.colour("--line"), width: 1, size: 4 },
      values: (_, ticks) => ticks.map(letters),
      font: `12px ${getComputedStyle(document.body).fontFamily}`,
      labelFont: `12px ${getComputedStyle(document.body).fontFamily}`,
    };
    if (isLog) {
      told.splits = (plot, place) => { const scale = plot.scales[place ? "y" : "x"]; return logTicks(scale.min, scale.max); };
      told.filter = (_, ticks) => ticks;
    }
    return told;
  }

  function draw(figure) {
    const spec = moewright.data(figure.dataset.plot);
    const place = figure.querySelector(".canvas");
    const { rows, series, bands, many } = seriesOf(spec);
    const pointed = document.createElement("p");
    const options = {
      width: place.clientWidth,
      height: place.clientHeight,
      scales: { x: { time: false, ...scale(spec.xLog) }, y: scale(spec.yLog) },
      axes: [{ ...axis(spec.xLabel, spec.xLog), size: 30, labelSize: 20 }, { ...axis(spec.yLabel, spec.yLog), size: 50, labelSize: 22 }],
      series, bands,
      legend: { show: false },
      cursor: { points: { show: !many }, focus: { prox: many ? 24 : -1 }, drag: { x: true, y: false } },
      focus: { alpha: 0.15 },
      hooks: {
        drawClear: [(plot) => shadeBeyond(plot, spec.inside)],
        setCursor: [(plot) => { pointed.textContent = words(plot, spec, series); }],
        setSeries: [(plot, number) => { plot.pointedSeries = number; pointed.textContent = words(plot, spec, series); }],
      },
    };
    const plot = new uPlot(options, rows, place);
    if (!many && spec.series.length > 1) {
      const key = document.createElement("p");
      key.className = "series-key";
      for (const one of spec.series) {
        const mark = document.createElement("span"), name = document.createElement("span");
        mark.style.background = `var(--plot-${one.group % 6})`;
        name.append(mark, one.name);
        key.append(name);
      }
      place.after(key);
    }
    // Arrow keys go from value to value.
    place.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const now = plot.cursor.idx ?? (step > 0 ? -1 : spec.x.length);
      const next = Math.min(Math.max(now + step, 0), spec.x.length - 1);
      const shown = rows.slice(1).map((values) => values[next]).find((value) => value !== null && value !== undefined);
      plot.setCursor({ left: plot.valToPos(spec.x[next], "x"), top: shown === undefined ? 0 : plot.valToPos(shown, "y") });
      moewright.say(pointed.textContent);
    });
    pointed.className = "pointed";
    pointed.textContent = words(plot, spec, series);
    place.after(pointed);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
    moewright.onTheme(() => plot.redraw(false, true));
  }

  // What is under the pointer, in one line.
  function words(plot, spec, series) {
    const at = plot.cursor.idx;
    if (at === null || at === undefined) return spec.series.length > 1 && spec.series.length <= MANY ? spec.series.map((one) => one.name).join(", ") : " ";
    const many = spec.series.length > MANY;
    const shown = many ? [plot.pointedSeries].filter((number) => number > 0) : series.map((_, number) => number).slice(1);
    const values = shown.map((number) => [series[number].label, plot.data[number][at]]).filter(([, value]) => value !== null && value !== undefined);
    const name = spec.labels[at] ? `${spec.labels[at]}: ` : "";
    return `${name}${letters(plot.data[0][at])} | ${values.map(([label, value]) => `${label} ${value.toPrecision(5)}`).join(", ")}`;
  }

  const waiting = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { waiting.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  const figures = document.querySelectorAll("figure[data-plot]");
  figures.forEach((figure) => waiting.observe(figure));
  addEventListener("beforeprint", () => figures.forEach((figure) => { if (!figure.querySelector(".uplot")) { waiting.unobserve(figure); draw(figure); } }));
})();
