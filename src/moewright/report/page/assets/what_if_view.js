"use strict";
// The controls of what-if, and what follows them: the design to build, what is undecided with it, and the commands.
(() => {
  const PREFERENCES = { balanced: "training and serving alike", train: "training", serve: "serving", loss: "loss alone" };
  const POSITIONS = 120; // of a slider, even in the logarithm
  const SHOWN = 10; // mixtures in the table
  const MOST_PICKED = 4;
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, properties = {}, ...children) {
    const { data, ...own } = properties;
    const made = Object.assign(document.createElement(tag), own);
    Object.assign(made.dataset, data || {});
    made.append(...children);
    return made;
  }
  const bytes = (value) => `${moewright.count(value).replace(/([KMBT]?)$/, (letter) => ({ K: " kB", M: " MB", B: " GB", T: " TB" })[letter] || " B")}`;
  const three = (value) => (value >= 1e4 ? moewright.count(value, 3) : String(Number(value.toPrecision(3))));
  const range = ([low, high], show = three) => (low === high ? show(low) : `${show(low)} to ${show(high)}`);
  const middle = ([low, high]) => Math.sqrt(low * high);
  const change = (value, before) => {
    const share = Math.round((value / before - 1) * 100);
    return share ? `${share > 0 ? "+" : "\u2212"}${Math.abs(share)} %` : "";
  };
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

  // A value of three digits with its unit, as people write it and the command line reads it.
  function written(value, unit) {
    const units = unit === "bytes" ? [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]] : [["T", 1e12], ["B", 1e9], ["M", 1e6], ["", 1]];
    const [name, size] = units.find(([, each]) => value >= each * 0.9995) || units.at(-1);
    const digits = Number((value / size).toPrecision(3));
    return { text: `${digits}${name}`, value: digits * size };
  }

  // A spec or a config with its sizes.
  function filled(template, sizes) {
    const all = { ...sizes, moe_layers: sizes.num_layers - sizes.dense_first, dense_size: (sizes.top_k + sizes.shared_experts) * sizes.expert_size };
    return template
      .replace(/^ *"\{each of num_layers\}.*$/gm, (line) => Array(sizes.num_layers).fill(line.replace("{each of num_layers}", "")).join(",\n"))
      .replace(/\{(\w+)\}/g, (_, size) => all[size]);
  }

  function open(place) {
    const name = place.dataset.whatIf;
    const carried = moewright.data(name);
    const { words } = carried;
    const whatIf = openWhatIf(carried);
    const asked = {
      limits: carried.limits.map((limit) => limit.asked),
      training: words.training.asked,
      laws: carried.laws.map((law) => law.name),
      prefer: words.prefer,
    };
    const setting = { ...asked, limits: [...asked.limits], laws: [...asked.laws], texts: words.limits.map((limit) => limit.text) };
    const picked = new Map(); // rows with what is shown of them: at the setting under which they were picked
    let before = null, now = null, waiting = false;

    const controls = element("form", { className: "controls" });
    controls.addEventListener("submit", (event) => event.preventDefault());
    const answer = element("div", { className: "followed" });
    const compared = element("div", { className: "compared" });
    place.append(controls, answer, compared);

    function update() {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; show(); });
    }

    // Controls.
    function slider(label, most, at, move) {
      const output = element("output", {});
      const input = element("input", { type: "range", min: 0, max: most, step: 1, value: at });
      const say = (text) => { output.textContent = text; input.setAttribute("aria-valuetext", text); };
      input.addEventListener("input", () => { say(move(Number(input.value))); update(); });
      controls.append(element("label", { className: "slider" }, element("span", {}, label), output, input));
      return { input, say };
    }
    const resets = [];
    words.limits.forEach((limit, i) => {
      const { low, high } = carried.limits[i];
      const ends = limit.inverse ? [1 / high, 1 / low] : [low / limit.devices, high / limit.devices];
      const valueAt = (position) => ends[0] * (ends[1] / ends[0]) ** (position / POSITIONS);
      const cost = (value) => (limit.inverse ? 1 / value : value * limit.devices);
      const middlePosition = POSITIONS / 2;
      const move = (position) => {
        if (position === middlePosition) { setting.limits[i] = asked.limits[i]; return (setting.texts[i] = limit.text); }
        let { text, value } = written(valueAt(position), limit.unit);
        if (cost(value) < low || cost(value) > high) ({ text, value } = { text: String(valueAt(position)), value: valueAt(position) });
        setting.limits[i] = Math.min(Math.max(cost(value), low), high);
        return (setting.texts[i] = text);
      };
      const { input, say } = slider(limit.label, POSITIONS, middlePosition, move);
      const reset = () => { input.value = middlePosition; say(move(middlePosition)); };
      reset();
      resets.push(reset);
    });
    const training = words.training;
    const amounts = slider(training.label, training.texts.length - 1, training.asked, (position) => {
      setting.training = position;
      return training.texts[position];
    });
    const resetTraining = () => { setting.training = amounts.input.value = training.asked; amounts.say(training.texts[training.asked]); };
    resetTraining();
    resets.push(resetTraining);

    function choices(legend, type, names, isOn, choose) {
      const inputs = names.map(([value, label]) => {
        const input = element("input", { type, name: `${name}-${legend}`, value, checked: isOn(value) });
        input.addEventListener("change", () => { choose(value, input); update(); });
        return [input, element("label", {}, input, label)];
      });
      controls.append(element("fieldset", {}, element("legend", {}, legend), ...inputs.map(([, label]) => label)));
      resets.push(() => inputs.forEach(([input]) => { input.checked = isOn(input.value); }));
    }
    resets.push(() => { setting.prefer = asked.prefer; setting.laws = [...asked.laws]; });
    choices("What decides where evidence does not", "radio", Object.entries(PREFERENCES), (each) => setting.prefer === each, (each) => { setting.prefer = each; });
    choices("Laws that are asked", "checkbox", carried.laws.map((law) => [law.name, law.name]), (law) => setting.laws.includes(law), (law, input) => {
      const left = carried.laws.map((each) => each.name).filter((each) => (each === law ? input.checked : setting.laws.includes(each)));
      if (left.length) setting.laws = left;
      else { input.checked = true; moewright.say("at least one law is asked"); }
    });
    const price = element("input", { type: "number", min: 0, step: "any", value: words.price || "" });
    price.addEventListener("input", () => { setting.price = Number(price.value); update(); });
    resets.push(() => { price.value = words.price || ""; setting.price = Number(price.value); });
    setting.price = Number(price.value);
    controls.append(element("label", { className: "priced" }, `Price of a device-hour of ${words.hardware.trains}`, price));
    const back = element("button", { type: "button" }, "As asked");
    back.addEventListener("click", () => { resets.forEach((reset) => reset()); update(); });
    controls.append(back);

    // The answer.
    function numbersOf(row) {
      const { counts, hours, kv } = carried;
      const at = (steps) => whatIf.columnsAt(setting.training, steps).map((column) => column[row]);
      const [total, active, memory] = at([counts.total_params, counts.active_params, counts.memory_bytes]);
      return { total, active, memory, hours: at(hours), decode: at(now.served.decode), first: at(now.served.first), kv: at([kv])[0] };
    }
    const sizesOf = (row) => Object.fromEntries(Object.entries(whatIf.sizes).map(([size, column]) => [size, column[row]]));
    const title = (s) => `${s.num_experts} experts of ${s.expert_size}, top-${s.top_k}, ${s.shared_experts || "none"} shared; ${s.hidden_size.toLocaleString("en")} wide, ${s.num_layers} layers${s.dense_first ? `, ${s.dense_first} dense first` : ""}`;

    function commandLine() {
      const options = { ...words.options };
      words.limits.forEach((limit, i) => { if (setting.texts[i] !== limit.text) options[limit.option] = [quoted(setting.texts[i])]; });
      options[training.option] = [training.texts[setting.training]];
      if (setting.laws.length < asked.laws.length) options.law = setting.laws.map(quoted);
      if (setting.prefer === "balanced") delete options.prefer; else options.prefer = [setting.prefer];
      const listed = Object.entries(options).flatMap(([option, values]) => values.map((value) => ` --${option.replaceAll("_", "-")} ${value}`));
      return `moewright design${listed.join("")}`;
    }

    function show() {
      const found = whatIf.decide(setting);
      const command = element("div", { className: "taken" },
        element("pre", { id: `${name}-line`, tabIndex: 0 }, commandLine()),
        element("button", { type: "button", className: "copy", data: { copy: `${name}-line` } }, "Copy the command"));
      if (found.reason) {
        const why = found.reason === "empty"
          ? "No design of the space is within these budgets. The command says which budget would have to give, and by how much."
          : "None of these laws may judge here, so the command would hear them as they are; which designs are then left open is not carried by this page. The command computes it.";
        answer.replaceChildren(element("p", { className: "doubt" }, why), command);
        return;
      }
      now = found;
      before = before || { row: now.leaders[0], count: now.rows.length, numbers: numbersOf(now.leaders[0]) };
      answer.replaceChildren(headline(), facts(), baseline(), plot(), mixtures(), openRanges(), command);
    }

    function headline() {
      const row = now.leaders[0];
      const same = row === before.row ? "the design that was recommended at the asked budgets" : "another design than at the asked budgets";
      return element("p", { className: "headline", role: "status" }, element("b", {}, title(sizesOf(row))), ` \u2014 ${same}`);
    }

    function facts() {
      const numbers = numbersOf(now.leaders[0]), old = before.numbers, { hardware } = words;
      const items = [
        ["parameters", moewright.count(numbers.total), change(numbers.total, old.total)],
        ["active", moewright.count(numbers.active), change(numbers.active, old.active)],
        ["memory with the cache", bytes(numbers.memory), change(numbers.memory, old.memory)],
        [`${hardware.trains}-hours of training`, range(numbers.hours), change(middle(numbers.hours), middle(old.hours))],
        [`tokens/s on ${now.served.devices} x ${hardware.serves}`, range(numbers.decode), change(middle(numbers.decode), middle(old.decode))],
        ["seconds to the first token", range(numbers.first), change(middle(numbers.first), middle(old.first))],
        ...(setting.price > 0 ? [["training in money", range(numbers.hours.map((end) => end * setting.price)), ""]] : []),
        ["undecided with it", `${now.rows.length.toLocaleString("en")} designs`, change(now.rows.length, before.count)],
      ];
      return element("dl", { className: "facts" }, ...items.map(([label, text, moved]) =>
        element("div", {}, element("dt", {}, label), element("dd", {}, text, moved ? element("span", { className: "moved" }, ` ${moved}`) : ""))));
    }

    function baseline() {
      const shares = whatIf.beside(setting, now);
      const words = { train_device_hours: "hours of training", decode_tokens_per_second: "tokens/s", time_to_first_token: "first token", memory_bytes: "memory", kv_bytes_per_token: "cache of a token" };
      const said = Object.entries(words).filter(([key]) => shares[key] !== null).map(([key, word]) => `${word} ${change(1 + shares[key], 1) || "alike"}`);
      return element("p", {}, `Beside ${shares.name} as it was built: ${said.join(", ")}. Whether its loss is lower, the command judges.`);
    }

    function openRanges() {
      const rows = Object.entries(words.sizes).map(([size, word]) => {
        let low = Infinity, high = -Infinity;
        for (const row of now.rows) { const value = whatIf.sizes[size][row]; low = Math.min(low, value); high = Math.max(high, value); }
        return element("tr", {}, element("th", { scope: "row", className: "text" }, word), element("td", {}, low.toLocaleString("en")), element("td", {}, high.toLocaleString("en")));
      });
      const head = element("tr", {}, ...["", "from", "to"].map((text) => element("th", { scope: "col" }, text)));
      const caption = `What is open: no other design is better by more than ${carried.margin} nats under all of ${now.laws.join(", ")}`;
      return element("div", { className: "scroll" }, element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows)));
    }

    // The best undecided design of each mixture; up to four are put side by side.
    function mixtures() {
      const names = ["compare", ...Object.values(words.sizes), "total", "active", "memory", "training hours", "tokens/s", "behind"];
      const rows = now.leaders.slice(0, SHOWN).map((row, place) => {
        const box = element("input", { type: "checkbox", checked: picked.has(row) });
        box.setAttribute("aria-label", `compare ${title(sizesOf(row))}`);
        box.addEventListener("change", () => {
          if (box.checked && picked.size >= MOST_PICKED) { box.checked = false; moewright.say(`at most ${MOST_PICKED} at a time`); return; }
          if (box.checked) picked.set(row, describe(row)); else picked.delete(row);
          comparison();
        });
        const numbers = numbersOf(row), behind = now.scores.get(row) - now.scores.get(now.leaders[0]);
        const cells = [
          ...Object.keys(words.sizes).map((size) => whatIf.sizes[size][row].toLocaleString("en")),
          moewright.count(numbers.total), moewright.count(numbers.active), bytes(numbers.memory), range(numbers.hours), range(numbers.decode),
          now.byCost ? `${(100 * Math.expm1(behind)).toFixed(1)} %` : `${behind.toFixed(4)} nats`,
        ];
        return element("tr", { className: place ? "" : "chosen" }, element("th", { scope: "row" }, box), ...cells.map((text) => element("td", {}, text)));
      });
      const head = element("tr", {}, ...names.map((text) => element("th", { scope: "col" }, text)));
      const caption = `The best undecided design of each mixture, ${Math.min(SHOWN, now.leaders.length)} of ${now.leaders.length}; behind: ${now.byCost ? "effective cost above the first's" : "mean loss above the first's"}`;
      return element("div", { className: "scroll" }, element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows)));
    }

    // Up to four designs side by side, each as it was when it was picked, with what is taken home of it.
    function describe(row) {
      const sizes = sizesOf(row), numbers = numbersOf(row), template = words.templates[`${sizes.dense_first}+${sizes.shared_experts}`];
      return {
        at: `${setting.texts.join(", ")}, ${training.texts[setting.training]}`,
        figures: {
          ...Object.fromEntries(Object.entries(words.sizes).map(([size, word]) => [word, sizes[size].toLocaleString("en")])),
          total: moewright.count(numbers.total),
          active: moewright.count(numbers.active),
          "memory with the cache": bytes(numbers.memory),
          [`${words.hardware.trains}-hours of training`]: range(numbers.hours),
          "tokens/s of a sequence": `${range(numbers.decode)} on ${now.served.devices} x ${words.hardware.serves}`,
          "seconds to the first token": range(numbers.first),
          "cache bytes of a token": bytes(numbers.kv),
          ...Object.fromEntries(carried.laws.map((law) => [`loss, ${law.name}`, whatIf.columnsAt(setting.training, law.readings.own)[0][row].toFixed(4)])),
        },
        taken: { spec: filled(template.spec, sizes), "config.json": template.config && filled(template.config, sizes), command: commandLine() },
      };
    }

    function comparison() {
      if (!picked.size) { compared.replaceChildren(); return; }
      const all = [...picked.values()];
      const head = element("tr", {}, element("th", { scope: "col" }, ""), ...all.map((one, i) => element("th", { scope: "col" }, `${i + 1}: ${one.at}`)));
      const names = [...new Set(all.flatMap((one) => Object.keys(one.figures)))];
      const rows = names.map((figure) => {
        const texts = all.map((one) => one.figures[figure] || "-");
        return element("tr", { className: new Set(texts).size > 1 ? "differs" : "" },
          element("th", { scope: "row", className: "text" }, figure), ...texts.map((text) => element("td", {}, text)));
      });
      const taken = all.flatMap((one, i) => Object.entries(one.taken).filter(([, text]) => text).flatMap(([label, text]) => {
        const id = `${name}-taken-${i}-${label.replace(".", "-")}`;
        return [
          element("details", { className: "copied" }, element("summary", {}, `${i + 1}: ${label}`), element("pre", { id, tabIndex: 0 }, text)),
          element("button", { type: "button", className: "copy", data: { copy: id } }, `Copy ${label} ${i + 1}`),
        ];
      }));
      compared.replaceChildren(
        element("div", { className: "scroll" }, element("table", {}, element("caption", {}, "Side by side, each at the budgets under which it was picked"), element("thead", {}, head), element("tbody", {}, ...rows))),
        element("div", { className: "taken" }, ...taken));
    }

    // What is undecided, by cost and by mean loss.
    function plot() {
      const width = 640, height = 280, left = 54, bottom = 40;
      const hours = whatIf.columnsAt(setting.training, carried.hours);
      const x = now.rows.map((row) => Math.log(middle(hours.map((column) => column[row]))));
      const y = now.rows.map(now.mean);
      const [x0, x1, y0, y1] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
      const toX = (value) => left + 8 + (width - left - 20) * (x1 > x0 ? (value - x0) / (x1 - x0) : 0.5);
      const toY = (value) => 10 + (height - bottom - 20) * (y1 > y0 ? (y1 - value) / (y1 - y0) : 0.5);
      const shape = (tag, attributes, text = "") => {
        const made = document.createElementNS(SVG, tag);
        for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
        made.textContent = text;
        return made;
      };
      const dots = now.rows.map((_, i) => `M${toX(x[i]).toFixed(1)} ${toY(y[i]).toFixed(1)}h0`).join("");
      const first = now.rows.indexOf(now.leaders[0]);
      const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Undecided designs by hours of training and mean loss over the laws" });
      svg.append(shape("path", { d: dots, class: "dots" }), shape("circle", { cx: toX(x[first]), cy: toY(y[first]), r: 6, class: "chosen-dot" }));
      for (const share of [0, 0.5, 1]) {
        const at = x0 + share * (x1 - x0), loss = share * (y1 - y0);
        svg.append(shape("text", { x: toX(at), y: height - 22, "text-anchor": ["start", "middle", "end"][2 * share] }, moewright.count(Math.exp(at), 3)));
        svg.append(shape("text", { x: left - 2, y: toY(y0 + loss) + 4, "text-anchor": "end" }, loss.toFixed(3)));
      }
      svg.append(shape("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, `${words.hardware.trains}-hours of training, logarithmic`));
      const caption = "Every undecided design: hours of training, and its mean loss over the laws above the least of them, nats. The ring is the recommended one.";
      return element("figure", { className: "undecided" }, svg, element("figcaption", {}, caption));
    }

    show();
    const work = whatIf.prepare();
    const idle = window.requestIdleCallback || ((call) => setTimeout(call, 20));
    const next = () => { if (!work.next().done) idle(next); };
    idle(next);
  }

  document.querySelectorAll("[data-what-if]").forEach(open);
})();
