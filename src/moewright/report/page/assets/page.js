// What every page of `moewright report` does: theme, origins of numbers, tables, copying. Sections find it in `moewright`.
"use strict";
const moewright = (() => {
  const root = document.documentElement;
  const told = document.getElementById("told");
  const themed = [];

  // Values that the page carries, by name.
  function data(name) {
    return JSON.parse(document.getElementById(`data-${name}`).textContent);
  }

  // A colour of the style sheet as canvas takes it: `--plot-0`.
  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    root.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  // Calls a function now and whenever the colours change.
  function onTheme(draw) {
    themed.push(draw);
    draw();
  }
  const redraw = () => themed.forEach((draw) => draw());

  // Says something to screen readers.
  function say(text) {
    told.textContent = text;
  }

  // A number as Python's format_count has it: 30.53B.
  function count(value, digits = 4) {
    for (const [letter, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["K", 1e3]])
      if (Math.abs(value) >= size * 0.99995) return significant(value / size, digits) + letter;
    return Number.isInteger(value) ? String(value) : significant(value, digits);
  }
  function significant(value, digits) {
    const whole = String(Math.trunc(Math.abs(value))).length;
    return value.toFixed(Math.max(digits - whole, 0));
  }

  // Both ends of a range with three digits, as Python's range_text has it.
  function rangeText(ends) {
    const isLarge = (end) => end >= 999.5;
    const hasFraction = ends.some((end) => !isLarge(end) && String(Number(end.toPrecision(3))).includes("."));
    const text = (end) => end === Infinity ? "\u221e" : isLarge(end) ? count(end, 3) : hasFraction && end ? end.toPrecision(3) : String(Number(end.toPrecision(3)));
    return ends[0] === ends[1] ? text(ends[0]) : ends.map(text).join(" to ");
  }

  // Theme: the system's until somebody chooses.
  const theme = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function showTheme() {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  }
  function chooseTheme(name) {
    root.dataset.theme = name;
    try { localStorage.setItem("moewright-theme", name); } catch { /* a page from disk may have no storage */ }
    showTheme();
    redraw();
  }
  try { root.dataset.theme = localStorage.getItem("moewright-theme") || ""; } catch { /* as above */ }
  if (!root.dataset.theme) delete root.dataset.theme;
  showTheme();
  theme.addEventListener("click", () => chooseTheme(isDark() ? "light" : "dark"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); redraw(); });
  let before = null;
  // Paper has nothing to press: light colours, every row that the filters leave, and what is folded away, but for files.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    before = root.dataset.theme || "";
    root.dataset.theme = "light";
    unfolded = [...document.querySelectorAll("details:not(.copied):not([open])")];
    for (const each of unfolded) each.open = true;
    paper(true);
    redraw();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before; else delete root.dataset.theme;
    for (const each of unfolded) each.open = false;
    paper(false);
    redraw();
  });

  // Where a number is from: of the element itself, of its row, of its column.
  const popover = document.getElementById("origin");
  function originOf(element) {
    const cell = element.closest("td, th");
    if (!cell) return element.closest("[data-kind]");
    if (cell.dataset.kind) return cell;
    const head = cell.closest("tr").cells[0];
    if (head.dataset.kind) return head;
    const column = cell.closest("table").tHead;
    const above = column && column.rows[0].cells[cell.cellIndex];
    return above && above.dataset.kind && cell.cellIndex > 0 ? above : null;
  }
  const line = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  function showOrigin(element) {
    const from = element && originOf(element);
    if (!from) { hideOrigin(); return; }
    const { kind, source, convention, docs } = from.dataset;
    popover.replaceChildren(line("b", kind), line("span", source));
    if (convention) popover.append(line("br", ""), line("span", convention));
    if (docs) popover.append(line("br", ""), line("i", `docs: ${docs}`));
    popover.hidden = false;
    const place = element.getBoundingClientRect();
    const width = popover.offsetWidth, height = popover.offsetHeight;
    const left = Math.min(Math.max(place.left, 8), innerWidth - width - 8);
    const above = place.top - height - 8;
    popover.style.left = `${left + scrollX}px`;
    popover.style.top = `${(above > 0 ? above : place.bottom + 8) + scrollY}px`;
    const shown = element.closest("td, th, .number") || element;
    document.querySelectorAll("[aria-describedby=origin]").forEach((each) => each.removeAttribute("aria-describedby"));
    shown.setAttribute("aria-describedby", "origin");
  }
  function hideOrigin() { popover.hidden = true; }
  const pointed = (event) => event.target instanceof Element && event.target.closest(".number, td, thead th, tbody th, [data-kind]");
  document.addEventListener("pointerover", (event) => { const found = pointed(event); if (found) showOrigin(found); else hideOrigin(); });
  document.addEventListener("focusin", (event) => showOrigin(pointed(event)));
  document.addEventListener("focusout", hideOrigin);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideOrigin(); });
  const marks = document.getElementById("origins");
  marks.addEventListener("click", () => {
    const on = root.classList.toggle("origins");
    marks.setAttribute("aria-pressed", on);
  });

  // Tables: sort by a heading, filter by words, more columns and rows on demand, arrow keys between cells.
  const FIRST_ROWS = 60, MORE_ROWS = 200, COPIED_ROWS = 8;
  // The rows of a table in their order, as elements or, until they are first seen, as values.
  function entriesOf(table) {
    if (table.entries) return table.entries;
    const later = document.getElementById(`data-${table.id}-rows`);
    table.entries = [...table.tBodies[0].rows].map((row) => ({ row }));
    if (later) table.entries.push(...JSON.parse(later.textContent).map(([kind, ...cells]) => ({ kind, cells: cells.map((cell) => (Array.isArray(cell) ? cell : [cell])) })));
    return table.entries;
  }
  function valueOf({ row, cells }, column) {
    if (cells) { const [text, value = null] = cells[column]; return value === null ? text.trim() : value; }
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  }
  function textOf(entry) {
    entry.text = entry.text || (entry.cells ? entry.cells.map(([text, , mark = ""]) => `${text} ${mark}`).join(" ") : entry.row.textContent).toLowerCase();
    return entry.text;
  }
  function makeRow(table, { kind, cells }) {
    const row = line("tr", "");
    row.className = kind;
    const heads = table.tHead.rows[0].cells;
    cells.forEach(([text, value = null, mark], column) => {
      const cell = line(column ? "td" : "th", text);
      if (!column) cell.scope = "row";
      cell.className = column ? heads[column].className : `text ${heads[column].className}`;
      if (value !== null) cell.dataset.value = value;
      if (mark) cell.append(" ", Object.assign(line("span", mark), { className: "mark" }));
      row.append(cell);
    });
    return row;
  }
  function compare(one, other) {
    if (typeof one === "number" && typeof other === "number") return one - other;
    if (typeof one === "number") return -1;
    if (typeof other === "number") return 1;
    return one.localeCompare(other, "en", { numeric: true });
  }
  function sortBy(table, heading) {
    const headings = [...table.tHead.rows[0].cells];
    const column = headings.indexOf(heading);
    const before = heading.getAttribute("aria-sort");
    const down = before ? before === "ascending" : heading.dataset.first === "descending";
    headings.forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const missing = (value) => value === "-" || value === "";
    const entries = entriesOf(table).map((entry) => [valueOf(entry, column), entry]);
    entries.sort(([one], [other]) => {
      if (missing(one) || missing(other)) return missing(one) - missing(other);
      return down ? compare(other, one) : compare(one, other);
    });
    table.entries = entries.map(([, entry]) => entry);
    show(table, true);
    say(`sorted by ${heading.textContent.trim()}, ${down ? "descending" : "ascending"}`);
  }
  // Which rows are seen: those that every filter lets through, the first ones of them until all are asked for.
  let isPaper = false;
  function paper(on) {
    isPaper = on;
    document.querySelectorAll("table.grid").forEach((table) => show(table));
  }
  const mostOf = (table) => (isPaper ? Infinity : table.most || FIRST_ROWS);
  const wordsOf = (table) => (table.filterText || "").toLowerCase().split(/\s+/).filter(Boolean);
  function fitting(table) {
    const words = wordsOf(table);
    return entriesOf(table).filter((entry) => {
      const text = words.length ? textOf(entry) : "";
      return words.every((word) => text.includes(word)) && (table.rowTests || []).every((test) => test(entry.row));
    });
  }
  function show(table, isMoved = false) {
    const words = wordsOf(table), fits = new Set(fitting(table));
    const fit = fits.size, seen = new Set([...fits].slice(0, mostOf(table)));
    for (const entry of entriesOf(table)) {
      const isSeen = seen.has(entry);
      if (isSeen && !entry.row) { entry.row = makeRow(table, entry); isMoved = true; }
      if (entry.row) entry.row.hidden = !isSeen;
    }
    if (isMoved) table.tBodies[0].append(...entriesOf(table).filter(({ row }) => row).map(({ row }) => row));
    if (table.more) {
      const most = mostOf(table);
      table.more.hidden = fit <= most;
      table.more.textContent = fit - most <= MORE_ROWS ? `Show all ${fit.toLocaleString("en")} rows` : `Show ${MORE_ROWS} more of ${fit.toLocaleString("en")} rows`;
    }
    if (table.counted) table.counted.textContent = words.length ? `${fit.toLocaleString("en")} rows` : "";
  }
  function bar(table) {
    const scroll = table.closest(".scroll");
    const found = scroll.previousElementSibling;
    if (found && found.classList.contains("bar")) return found;
    const made = line("div", "");
    made.className = "bar";
    scroll.before(made);
    return made;
  }
  function checkbox(label, on, change) {
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: on });
    input.addEventListener("change", () => change(input.checked, input));
    const whole = document.createElement("label");
    whole.append(input, document.createTextNode(label));
    return whole;
  }
  function makeGrid(table) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest(".sort");
      if (button) sortBy(table, button.closest("th"));
    });
    const caption = table.caption ? table.caption.textContent : "table";
    if (table.dataset.filter) {
      const input = Object.assign(document.createElement("input"), { type: "search", placeholder: "Filter rows" });
      input.setAttribute("aria-label", `Filter: ${caption}`);
      input.addEventListener("input", () => { table.filterText = input.value; show(table); });
      table.counted = line("span", "");
      table.counted.setAttribute("role", "status");
      bar(table).append(input, table.counted);
    }
    if (table.dataset.extra)
      bar(table).append(checkbox("all columns", false, (on) => { if (on) table.dataset.all = "yes"; else delete table.dataset.all; }));
    if (table.querySelector(".sort") && entriesOf(table).length >= COPIED_ROWS) {
      const button = Object.assign(line("button", "Copy as CSV"), { type: "button" });
      button.addEventListener("click", () => copyBy(button, csvOf(table)));
      bar(table).append(button);
    }
    if (entriesOf(table).length > FIRST_ROWS) {
      table.more = Object.assign(document.createElement("button"), { type: "button" });
      table.more.addEventListener("click", () => { table.most = (table.most || FIRST_ROWS) + MORE_ROWS; show(table); });
      table.closest(".scroll").after(table.more);
    }
    const first = table.tBodies[0].rows[0];
    if (first) (first.cells[1] || first.cells[0]).tabIndex = 0;
    table.addEventListener("keydown", (event) => moveFocus(table, event));
    table.addEventListener("click", (event) => { const cell = event.target.closest("tbody td, tbody th"); if (cell) focusCell(table, cell); });
    show(table);
  }
  // What a spreadsheet takes: the rows that the filter leaves, in their order, all columns, numbers as they are stored; a
  // text that it would take for a formula has a quote before it, as Python's to_csv_cell has it.
  function csvOf(table) {
    const cell = (text) => {
      const safe = /^'*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(text) && !/^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$/.test(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const heads = [...table.tHead.rows[0].cells];
    const isRange = (text) => text.includes(" to ");
    const textAt = (entry, column) => {
      const [text, value] = entry.cells ? [entry.cells[column][0], valueOf(entry, column)] : [entry.row.cells[column].firstChild?.textContent ?? "", valueOf(entry, column)];
      return typeof value === "number" && !isRange(text) ? String(value) : text.trim();
    };
    const rows = fitting(table).map((entry) => heads.map((_, column) => textAt(entry, column)));
    return [heads.map((head) => head.textContent.trim()), ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
  }
  function focusCell(table, cell) {
    table.querySelectorAll("tbody [tabindex='0']").forEach((each) => each.removeAttribute("tabindex"));
    cell.tabIndex = 0;
    cell.focus();
  }
  function moveFocus(table, event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = event.target.closest("tbody td, tbody th");
    if (!step || !cell) return;
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    const row = rows[rows.indexOf(cell.parentElement) + step[0]];
    const next = row && row.cells[cell.cellIndex + step[1]];
    if (!next) return;
    event.preventDefault();
    focusCell(table, next);
  }

  // Models side by side: up to four of them, differences anew among those that are shown. Those that are not shown at
  // first are drawn by assets/layers.js.
  const MOST_COMPARED = 4;
  function drawLayers({ dataset: { column } }) {
    const place = document.getElementById(`layers-${column}`);
    if (place.tagName === "FIGURE") return;
    const { layers, words } = data("models-layers");
    place.replaceWith(Object.assign(moewright.layersPicture(layers[column], words), { id: place.id }));
  }
  function makeComparison(table) {
    const heads = [...table.tHead.rows[0].cells].slice(1), cards = document.querySelectorAll(".model[data-column]");
    if (heads.length < 2) return;
    let only = false;
    const shown = heads.map((_, place) => place < MOST_COMPARED);
    function update() {
      for (const row of [table.tHead.rows[0], ...table.tBodies[0].rows])
        shown.forEach((on, place) => { row.cells[place + 1].hidden = !on; });
      for (const row of table.tBodies[0].rows) {
        const texts = [...row.cells].slice(1).filter((_, place) => shown[place]).map((cell) => cell.dataset.value || cell.textContent);
        row.classList.toggle("differs", new Set(texts).size > 1);
      }
      for (const card of cards) { card.hidden = !shown[card.dataset.column - 1]; if (!card.hidden) drawLayers(card); }
      show(table);
    }
    table.rowTests = [(row) => !only || row.classList.contains("differs")];
    const tools = bar(table);
    tools.append(checkbox("only differences", false, (on) => { only = on; show(table); }));
    const full = line("span", "");
    full.setAttribute("role", "status");
    if (heads.length > 2)
      heads.forEach((head, place) => tools.append(checkbox(head.textContent, shown[place], (on, input) => {
        const isFull = on && shown.filter(Boolean).length >= MOST_COMPARED;
        full.textContent = isFull ? `at most ${MOST_COMPARED} at a time` : "";
        if (isFull) { input.checked = false; return; }
        shown[place] = on;
        update();
      })));
    tools.append(full);
    update();
  }

  // Copying.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // no permission, or an old browser
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) copyBy(button, document.getElementById(button.dataset.copy).textContent);
  });
  async function copyBy(button, text) {
    await copy(text);
    const words = button.textContent;
    if (words !== "Copied") {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = words; }, 1500);
    }
    say("copied");
  }

  document.querySelectorAll("table.grid").forEach(makeGrid);
  document.querySelectorAll("table#models-grid").forEach(makeComparison);

  // Which chapter is being read.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));

  return { data, colour, onTheme, say, count, rangeText, copy, makeGrid, showRows: show, line };
})();
