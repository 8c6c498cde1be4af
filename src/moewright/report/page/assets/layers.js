"use strict";
// The layers of a model as a small drawing, as report/page/layer_picture.py draws those that are known when a page is
// written; tests/report/test_what_if.py compares the two.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 640, MOST_EXPERTS = 512, LEAST_IN_A_ROW = 32;
  function shape(tag, attributes, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  const told = (text) => shape("title", {}, text);

  // A square for each routed expert of the last mixture, those that a token uses filled, then the shared ones.
  function expertSquares(experts, top, width) {
    if (!experts || experts[0] + experts[2] > MOST_EXPERTS) return [[], top - 8];
    const [number, used, shared] = experts;
    const size = number + shared <= 128 ? 8 : 6;
    const inARow = Math.max(Math.floor(width / size), LEAST_IN_A_ROW);
    const kinds = [...Array(used).fill("used"), ...Array(number - used).fill("idle"), ...Array(shared).fill("shared")];
    const squares = kinds.map((kind, place) => shape("rect", {
      class: `expert-${kind}`, x: (place % inARow) * size, y: top + Math.floor(place / inARow) * size, width: size - 1.5, height: size - 1.5, rx: 1,
    }));
    const words = `${used} of ${number} experts used${shared ? `, ${shared} shared` : ""}`;
    return [[shape("g", {}, told(words), ...squares)], top + Math.ceil(kinds.length / inARow) * size];
  }

  // {layers: [[how many, the mixer's kind, its words, the feed-forward's kind, its words], ...], experts}, and a word for each kind.
  moewright.layersPicture = ({ layers, experts }, keyWords) => {
    const each = layers.flatMap(([count, ...row]) => Array(count).fill(row));
    const step = Math.min(26, WIDTH / each.length), gap = Math.min(2, step / 5);
    const boxes = each.flatMap(([mixer, mixerWords, feedForward, words], place) => {
      const box = (y, height, kind, text) => shape("rect", {
        class: kind, x: (place * step).toFixed(2), y, width: (step - gap).toFixed(2), height, rx: 1.5,
      }, told(`layer ${place + 1}: ${text}`));
      return [box(0, 16, mixer, mixerWords), box(18, feedForward === "ff-moe" ? 34 : 16, feedForward, words)];
    });
    const [squares, bottom] = expertSquares(experts, 64, step * each.length);
    const words = layers.map(([count, , mixer, , feedForward]) => `${count} x (${mixer}; ${feedForward})`).join(", ");
    const svg = shape("svg", { role: "img", "aria-label": `${each.length} layers: ${words}`, viewBox: `0 0 ${WIDTH} ${bottom}` }, ...boxes, ...squares);
    const kinds = new Set([...layers.map((row) => row[1]), ...layers.map((row) => row[3])]);
    if (experts) for (const kind of ["expert-used", "expert-idle", ...(experts[2] ? ["expert-shared"] : [])]) kinds.add(kind);
    const keys = [...kinds].map((kind) => {
      const key = Object.assign(document.createElement("span"), { className: "key" });
      key.append(shape("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, shape("rect", { class: kind, width: 10, height: 10, rx: 2 })), keyWords[kind]);
      return key;
    });
    const figure = Object.assign(document.createElement("figure"), { className: "layers" });
    const caption = document.createElement("figcaption");
    caption.append(...keys);
    figure.append(svg, caption);
    return figure;
  };
})();
