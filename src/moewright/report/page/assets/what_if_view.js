"use strict";
// The controls of what-if, and what follows them: the design to build, what is undecided with it, and the commands.
(() => {
  const PREFERENCES = { balanced: "training and serving alike", train: "training", serve: "serving", loss: "loss alone" };
  const POSITIONS = 120; // of a slider, even in the logarithm
  const TOKENS_SERVED = [1e9, 1e17], PRICES = [0.05, 100]; // ends of their sliders, whose first position is none
  const QUIET = 500; // milliseconds after the last move before the answer is spoken
  const SHOWN = 10; // mixtures in the table
  const MOST_PICKED = 4;
  const AT_ONCE = 8; // milliseconds, of what is made ready: a move that comes meanwhile waits so long, and for one piece more
  const SPACE_FILE = "changed_space.yaml";
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, properties = {}, ...children) {
    const { data, ...own } = properties;
    const made = Object.assign(document.createElement(tag), own);
    Object.assign(made.dataset, data || {});
    made.append(...children);
    return made;
  }
  const bytes = (value) => `${moewright.count(value).replace(/([KMBT]?)$/, (letter) => ({ K: " kB", M: " MB", B: " GB", T: " TB" })[letter] || " B")}`;
  const range = moewright.rangeText;
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  const middle = ([low, high]) => Math.sqrt(low * high);
  const change = (value, before) => {
    const share = Math.round((value / before - 1) * 100);
    return share ? `${share > 0 ? "+" : "\u2212"}${Math.abs(share)} %` : "";
  };
  const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

  // A value of three digits with its unit, as people write it and the command line reads it.
  function written(value, unit) {
    const units = { bytes: [["TB", 1e12], ["GB", 1e9], ["MB", 1e6]], price: [["", 1]] }[unit] || [["T", 1e12], ["B", 1e9], ["M", 1e6], ["", 1]];
    const [name, size] = units.find(([, each]) => value >= each * 0.9995) || units.at(-1);
    const digits = Number((value / size).toPrecision(3));
    return { text: `${digits}${name}`, value: digits * size };
  }

  // A spec or a config with its sizes.
  function filled(template, sizes, latent) {
    const all = { ...sizes, moe_layers: sizes.num_layers - sizes.dense_first, dense_size: (sizes.top_k + sizes.shared_experts) * sizes.expert_size, latent_size: latent[sizes.hidden_size] };
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
      off: 0,
      prefer: words.prefer,
      serve_tokens: words.serve_tokens,
      prices: { ...words.prices },
    };
    const setting = { ...asked, limits: [...asked.limits], laws: [...asked.laws], prices: { ...asked.prices }, texts: words.limits.map((limit) => limit.text) };
    const picked = new Map(); // rows with what is shown of them: at the setting under which they were picked
    let before = null, now = null, isReady = false, waiting = false, speaking = null;

    const controls = element("form", { className: "controls" });
    controls.addEventListener("submit", (event) => event.preventDefault());
    const answer = element("div", { className: "followed" });
    const compared = element("div", { className: "compared" });
    place.append(element("div", { className: "moved-by" }, controls, answer), compared);

    // The setting stands behind the page's address, so that a link opens it: the place of every control in its order.
    const inputs = () => [...controls.querySelectorAll("input")];
    const stateOf = (input) => (input.type === "range" ? input.value : String(Number(input.checked)));
    let home = ""; // as asked
    const keep = () => {
      const state = inputs().map(stateOf).join(".");
      try { history.replaceState(null, "", state === home ? `#${name}` : `#${name}=${state}`); } catch { /* a page in a frame may have no address */ }
    };
    function restore() {
      const [where, state = ""] = location.hash.slice(1).split("=");
      const states = state.split(".");
      if (where !== name || states.length !== inputs().length || !states.every((each) => /^\d+$/.test(each))) return;
      inputs().forEach((input, place) => {
        if (stateOf(input) === states[place]) return;
        if (input.type === "range") input.value = states[place]; else input.checked = states[place] === "1";
        if (input.type !== "radio" || input.checked) input.dispatchEvent(new Event(input.type === "range" ? "input" : "change"));
      });
      want();
      if (!scrollY) place.scrollIntoView(); // not of a page that reads itself again
    }

    function update() {
      if (waiting || !isReady) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        show();
        clearTimeout(speaking);
        speaking = setTimeout(() => { moewright.say(answer.dataset.said); keep(); }, QUIET);
      });
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
      const inputs = names.map(([value, label, origin]) => {
        const input = element("input", { type, name: `${name}-${legend}`, value, checked: isOn(value) });
        input.addEventListener("change", () => { choose(value, input); update(); });
        return [input, element("label", { data: origin || {} }, input, label)];
      });
      const made = element("fieldset", {}, element("legend", {}, legend), ...inputs.map(([, label]) => label));
      controls.append(made);
      resets.push(() => inputs.forEach(([input]) => { input.checked = isOn(input.value); }));
      return made;
    }
    resets.push(() => { setting.prefer = asked.prefer; setting.laws = [...asked.laws]; setting.off = 0; });
    const preferences = choices("What decides the rest", "radio", Object.entries(PREFERENCES), (each) => setting.prefer === each, (each) => { setting.prefer = each; });
    choices("Laws that are asked", "checkbox", carried.laws.map((law) => [law.name, law.name]), (law) => setting.laws.includes(law), (law, input) => {
      const left = carried.laws.map((each) => each.name).filter((each) => (each === law ? input.checked : setting.laws.includes(each)));
      // On the command line names restrict the published laws, and files of fitted ones join them.
      if (left.some((each) => words.laws[each].published)) setting.laws = left;
      else { input.checked = true; moewright.say("at least one published law is asked"); }
    });
    const bitOf = (field) => 1 << carried.rules.names.indexOf(field);
    if (words.rules.length)
      choices("Rules of the space that hold", "checkbox", words.rules.map(({ field, label, reason }) => [field, label, { kind: "assumed", source: reason, docs: "design.md" }]),
        (field) => !(setting.off & bitOf(field)), (field) => { setting.off ^= bitOf(field); });
    // An amount that may be none: its first position.
    function amount(label, [low, high], asked, unit, digits, choose) {
      const ends = [Math.min(low, asked || low), Math.max(high, asked || high)];
      const positionOf = (value) => (value ? 1 + Math.round((POSITIONS - 1) * Math.log(value / ends[0]) / Math.log(ends[1] / ends[0])) : 0);
      const home = positionOf(asked);
      const move = (position) => {
        if (!position) { choose(0, ""); return "none"; }
        const value = ends[0] * (ends[1] / ends[0]) ** ((position - 1) / (POSITIONS - 1));
        const { text, value: told } = position === home ? { text: String(asked), value: asked } : written(Number(value.toPrecision(digits)), unit);
        choose(told, text);
        return position === home ? written(asked, unit).text : text;
      };
      const { input, say } = slider(label, POSITIONS, home, move);
      const reset = () => { input.value = home; say(move(home)); };
      reset();
      resets.push(reset);
    }
    setting.told = {};
    amount("Tokens served in its life", TOKENS_SERVED, asked.serve_tokens, "count", 2, (value, text) => { setting.serve_tokens = value; setting.told.serve_tokens = text; });
    const { trains, serves } = words.hardware;
    const roles = carried.one_device ? [["train", trains]] : [["train", trains], ["serve", serves]];
    for (const [role, device] of roles)
      amount(`Price of a device-hour of ${device}`, PRICES, asked.prices[role], "price", 2, (value, text) => {
        setting.prices[role] = value;
        if (carried.one_device) setting.prices.serve = value;
        setting.told[role] = text;
      });
    const back = element("button", { type: "button" }, "As asked");
    back.addEventListener("click", () => { resets.forEach((reset) => reset()); update(); });
    controls.append(back);
    home = inputs().map(stateOf).join(".");

    // The answer.
    function numbersOf(rows) {
      const { counts, hours, kv } = carried, { decode, first } = now.served;
      const found = whatIf.valuesAt(setting.training, [counts.total_params, counts.active_params, counts.memory_bytes, ...hours, ...decode, ...first, kv], rows);
      return rows.map((row, i) => {
        const at = (steps) => steps.map((step) => found.get(step)[i]);
        const place = now.life && now.rows.indexOf(row);
        const [total, active, memory] = at([counts.total_params, counts.active_params, counts.memory_bytes]);
        const life = now.life && { hours: now.life.hours.map((ends) => ends[place]), sequences: now.life.sequences[place] };
        return { total, active, memory, hours: at(hours), decode: at(decode), first: at(first), kv: at([kv])[0], life };
      });
    }
    const sizesOf = (row) => Object.fromEntries(Object.entries(whatIf.sizes).map(([size, column]) => [size, column[row]]));
    const title = (s) => `${s.num_experts} experts of ${s.expert_size}, top-${s.top_k}, ${s.shared_experts || "none"} shared; ${s.hidden_size.toLocaleString("en")} wide, ${s.num_layers} layers${s.dense_first ? `, ${s.dense_first} dense first` : ""}`;

    function commandLine() {
      const options = { ...words.options };
      words.limits.forEach((limit, i) => { if (setting.texts[i] !== limit.text) options[limit.option] = [quoted(setting.texts[i])]; });
      options[training.option] = [training.texts[setting.training]];
      const published = carried.laws.map((law) => law.name).filter((law) => words.laws[law].published);
      const named = setting.laws.filter((law) => words.laws[law].published);
      const files = setting.laws.filter((law) => !words.laws[law].published);
      options.law = [...(words.all_published && named.length === published.length ? [] : named), ...files].map((law) => words.laws[law].word);
      const isBilled = setting.serve_tokens > 0 && !isUnpriced();
      preferences.disabled = isBilled; // the whole bill chooses
      if (setting.off) options.space = [SPACE_FILE];
      options.prefer = isBilled || setting.prefer === "balanced" ? [] : [setting.prefer];
      options.serve_tokens = isBilled ? [setting.told.serve_tokens] : [];
      options.price = roles.filter(([role]) => setting.prices[role] > 0).map(([role, device]) => quoted(`${device}=${setting.told[role]}`));
      const listed = Object.entries(options).flatMap(([option, values]) => values.map((value) => ` --${option.replaceAll("_", "-")} ${value}`));
      return `moewright design${listed.join("")}`;
    }
    // The file of the space without the rules that are off.
    function spaceFile() {
      const lines = { ...words.space };
      for (const { field, line } of words.rules) if (setting.off & bitOf(field)) lines[field] = line;
      return Object.values(lines).join("");
    }
    // Training and serving on unlike devices add up in money only.
    const isUnpriced = () => setting.serve_tokens > 0 && !carried.one_device && !(setting.prices.train > 0 && setting.prices.serve > 0);

    const knownWithoutRules = () => words.limits.map((limit, i) => {
      const { low, high } = carried.rules;
      const ends = limit.inverse ? [1 / high[i], 1 / low[i]] : [low[i] / limit.devices, high[i] / limit.devices];
      return `${limit.label.split(",")[0].toLowerCase()} between ${ends.map((end) => written(end, limit.unit).text).join(" and ")}`;
    }).join(" and ");

    function show() {
      const found = whatIf.decide(setting);
      const command = element("div", { className: "taken" },
        element("pre", { id: `${name}-line`, tabIndex: 0 }, commandLine()),
        element("button", { type: "button", className: "copy", data: { copy: `${name}-line` } }, "Copy the command"),
        ...(setting.off ? [
          element("pre", { id: `${name}-space`, tabIndex: 0 }, spaceFile()),
          element("button", { type: "button", className: "copy", data: { copy: `${name}-space` } }, `Copy ${SPACE_FILE}`),
        ] : []));
      if (found.reason) {
        const why = {
          far: `Without a rule this page knows ${knownWithoutRules()} only. The command computes it.`,
          empty: "No design of the space is within these budgets. The command says which budget would have to give, and by how much.",
          silent: "None of these laws may judge here, so the command would hear them as they are; which designs are then left open is not carried by this page. The command computes it.",
          unserved: "Of no undecided design one sequence fits on the devices of the bill of serving. Take more devices or a shorter context in the command.",
          beyond: `Some design within these budgets lies so far outside the runs behind ${found.law} that its formula gives a loss that no model has. Leave that law out.`,
        }[found.reason];
        answer.dataset.said = why;
        answer.replaceChildren(element("p", { className: "doubt" }, why), command);
        return;
      }
      now = found;
      const shown = now.leaders.slice(0, SHOWN), numbers = numbersOf(shown);
      before = before || { row: now.leaders[0], count: now.rows.length, numbers: numbers[0] };
      answer.dataset.said = `${title(sizesOf(shown[0]))}; ${now.rows.length.toLocaleString("en")} designs undecided`;
      answer.replaceChildren(headline(), facts(numbers[0]), ...unpriced(), baseline(), plot(), mixtures(shown, numbers), openRanges(), command);
    }

    function headline() {
      const row = now.leaders[0];
      const same = row === before.row ? "the design that was recommended at the asked budgets" : "another design than at the asked budgets";
      return element("p", { className: "headline" }, element("b", {}, title(sizesOf(row))), ` \u2014 ${same}`);
    }

    // A number that says where it is from when it is pointed at or focused.
    const from = (origin) => Object.fromEntries(Object.entries(words.origins[origin]).filter(([, text]) => text));
    const number = (text, origin) => element("span", { className: "number", tabIndex: 0, data: from(origin) }, text);
    const priced = (ends, price) => ends.map((end) => end * price);

    function facts(numbers) {
      const old = before.numbers, { life } = numbers;
      const items = [
        ["parameters", moewright.count(numbers.total), change(numbers.total, old.total), "count"],
        ["active", moewright.count(numbers.active), change(numbers.active, old.active), "count"],
        ["memory with the cache", bytes(numbers.memory), change(numbers.memory, old.memory), "memory"],
        [`${trains}-hours of training`, range(numbers.hours), change(middle(numbers.hours), middle(old.hours)), "trained"],
        ...(setting.prices.train > 0 ? [["training in money", range(priced(numbers.hours, setting.prices.train)), "", "trained"]] : []),
        [`tokens/s on ${now.served.devices} x ${serves}`, range(numbers.decode), change(middle(numbers.decode), middle(old.decode)), "timed"],
        ["seconds to the first token", range(numbers.first), change(middle(numbers.first), middle(old.first)), "timed"],
        ...(life ? [[`${serves}-hours of serving, ${life.sequences.toLocaleString("en")} at a time`, range(life.hours), "", "timed"]] : []),
        ...(life && setting.prices.serve > 0 ? [["serving in money", range(priced(life.hours, setting.prices.serve)), "", "timed"]] : []),
        ["undecided with it", `${now.rows.length.toLocaleString("en")} designs`, change(now.rows.length, before.count), "chosen"],
      ];
      return element("dl", { className: "facts" }, ...items.map(([label, text, moved, origin]) =>
        element("div", {}, element("dt", {}, label), element("dd", {}, number(text, origin), moved ? element("span", { className: "moved" }, ` ${moved}`) : ""))));
    }

    const unpriced = () => (isUnpriced() ? [element("p", { className: "doubt" }, `Training on ${trains} and serving on ${serves} add up in money only: the tokens served count once both have a price.`)] : []);

    function baseline() {
      const shares = whatIf.beside(setting, now);
      const named = { train_device_hours: "hours of training", decode_tokens_per_second: "tokens/s", time_to_first_token: "first token", memory_bytes: "memory", kv_bytes_per_token: "cache of a token", whole_bill: "the whole bill of training and serving" };
      const said = Object.entries(named).filter(([key]) => shares[key] !== null).map(([key, word]) => `${word} ${change(1 + shares[key], 1) || "alike"}`);
      const draws = Object.entries(shares.below).map(([law, share]) => ` By ${percent(share)} of the draws of ${law} its loss is lower.`).join("");
      return element("p", {}, `Beside ${shares.name} as it was built: ${said.join(", ")}.${draws} Whether published laws find its loss lower, the command judges.`);
    }

    // A table in a box that scrolls, also by keys; headings with an origin give it to their columns.
    function boxed(caption, names, rows) {
      const head = element("tr", {}, ...names.map(([text, origin]) => element("th", { scope: "col", data: origin ? from(origin) : {} }, text)));
      return element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: caption },
        element("table", {}, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows)));
    }

    function openRanges() {
      const rows = Object.entries(words.sizes).map(([size, word]) => {
        let low = Infinity, high = -Infinity;
        for (const row of now.rows) { const value = whatIf.sizes[size][row]; low = Math.min(low, value); high = Math.max(high, value); }
        return element("tr", {}, element("th", { scope: "row", className: "text" }, word), element("td", {}, low.toLocaleString("en")), element("td", {}, high.toLocaleString("en")));
      });
      const caption = `What is open: no other design is better by more than ${carried.margin} nats under all of ${now.laws.join(", ")}`;
      return boxed(caption, [[""], ["from", "chosen"], ["to", "chosen"]], rows);
    }

    // The best undecided design of each mixture; up to four are put side by side.
    function mixtures(shown, numbers) {
      const names = [["compare"], ["behind", "chosen"], ["training hours", "trained"], ["tokens/s", "timed"], ["memory", "memory"]];
      const rows = shown.map((row, place) => {
        const box = element("input", { type: "checkbox", checked: picked.has(row), data: { row } });
        const text = title(sizesOf(row));
        box.setAttribute("aria-label", `compare ${text}`);
        box.addEventListener("change", () => { if (box.checked) box.checked = pick(row, () => describe(row)); else unpick(row); });
        const behind = now.scores.get(row) - now.scores.get(now.leaders[0]), { hours, decode, memory } = numbers[place];
        const cells = [
          now.byCost ? `${(100 * Math.expm1(behind)).toFixed(1)} %` : `${behind.toFixed(4)} nats`,
          range(hours), range(decode), bytes(memory),
        ];
        return element("tr", { className: place ? "" : "chosen" }, element("th", { scope: "row", className: "text" }, element("label", {}, box, text)), ...cells.map((text) => element("td", {}, text)));
      });
      return boxed(`The best undecided design of each mixture, ${shown.length} of ${now.leaders.length}; behind: ${now.byCost ? "effective cost above the first's" : "mean loss above the first's"}`, names, rows);
    }

    // What stands side by side: designs, each as it was when it was picked, and published models, with what is taken home of them.
    const kindOf = (s) => [`${s.dense_first}+${s.shared_experts}`, `${s.dense_first}+${s.shared_experts}+${s.num_layers}`];
    function figuresOf(sizes, numbers, losses) {
      const { life } = numbers;
      const known = Object.entries(words.sizes).filter(([size]) => sizes[size] !== undefined);
      return {
        ...Object.fromEntries(known.map(([size, word]) => [word, sizes[size].toLocaleString("en")])),
        total: moewright.count(numbers.total),
        active: moewright.count(numbers.active),
        "memory with the cache": bytes(numbers.memory),
        [`${trains}-hours of training`]: range(numbers.hours),
        ...(life ? { [`${serves}-hours of serving`]: range(life.hours) } : {}),
        [`tokens/s of a sequence on ${now.served.devices} x ${serves}`]: range(numbers.decode),
        "seconds to the first token": range(numbers.first),
        "cache bytes of a token": bytes(numbers.kv),
        ...Object.fromEntries(Object.entries(losses).filter(([, loss]) => loss !== null).map(([law, loss]) => [`loss, ${law}`, loss.toFixed(4)])),
      };
    }
    const settingWords = () => `${setting.texts.join(", ")}, ${training.texts[setting.training]}`;
    function describe(row) {
      const sizes = sizesOf(row), [numbers] = numbersOf([row]), [kind, ofDepth] = kindOf(sizes);
      const template = words.templates[kind] || words.templates[ofDepth];
      const losses = whatIf.valuesAt(setting.training, carried.laws.flatMap((law) => law.readings.own), [row]);
      return {
        title: title(sizes),
        drawn: whatIf.drawnOf(setting, row),
        at: settingWords(),
        figures: figuresOf(sizes, numbers, Object.fromEntries(carried.laws.map((law) => [law.name, losses.get(law.readings.own[0])[0]]))),
        picture: JSON.parse(filled(template.picture, sizes, words.latent_sizes)),
        taken: { spec: filled(template.spec, sizes, words.latent_sizes), "config.json": template.config && filled(template.config, sizes, words.latent_sizes), command: commandLine(), ...(setting.off ? { [SPACE_FILE]: spaceFile() } : {}) },
      };
    }
    function describeModel(model) {
      const at = setting.training, served = carried.served.indexOf(now.served);
      const numbers = { total: model.total_params, active: model.active_params, memory: model.memory_bytes, hours: model.hours[at], decode: model.decode[served], first: model.first[served], kv: model.kv };
      const drawn = Object.entries(model.variables).filter(([law, each]) => each[at] && setting.laws.includes(law));
      return {
        title: model.name,
        drawn: Object.fromEntries(drawn.map(([law, each]) => [law, each[at]])),
        at: settingWords(),
        figures: figuresOf(model.sizes, numbers, Object.fromEntries(Object.entries(model.losses).map(([law, each]) => [law, each[at]]))),
        picture: model.picture,
        taken: model.taken,
      };
    }

    function pick(key, described) {
      if (picked.size >= MOST_PICKED) { full.textContent = `at most ${MOST_PICKED} at a time`; return false; }
      picked.set(key, described());
      comparison();
      return true;
    }
    function unpick(key) {
      picked.delete(key);
      for (const box of answer.querySelectorAll("input[data-row]")) if (box.dataset.row === String(key)) box.checked = false;
      comparison();
    }

    const side = element("div", {}), full = element("span", { role: "status" });
    function pickBar() {
      const models = element("select", { id: `${name}-models` }, ...carried.models.map((model, place) => element("option", { value: place }, model.name)));
      const add = element("button", { type: "button" }, "Put it beside");
      add.addEventListener("click", () => { const model = carried.models[models.value]; if (now && !picked.has(model.name)) pick(model.name, () => describeModel(model)); });
      return element("div", { className: "bar" }, element("label", {}, "A published model ", models), add, full);
    }
    compared.append(pickBar(), side);

    function comparison() {
      full.textContent = "";
      if (!picked.size) { side.replaceChildren(); return; }
      const all = [...picked.values()];
      const figures = all.map((one, place) => ({
        "picked at": one.at,
        ...one.figures,
        ...(place ? Object.fromEntries(Object.entries(whatIf.below(one.drawn, all[0].drawn)).map(([law, share]) => [`draws of ${law} by which its loss is below 1's`, percent(share)])) : {}),
      }));
      const names = [...new Set(figures.flatMap(Object.keys))];
      const differing = (texts) => (new Set(texts).size > 1 ? "differs" : "");
      const label = (text) => element("th", { scope: "row", className: "text" }, text);
      const rows = names.map((figure) => {
        const texts = figures.map((each) => each[figure] || "-");
        return element("tr", { className: differing(texts) }, label(figure), ...texts.map((text) => element("td", {}, text)));
      });
      const drawn = all.map((one) => element("td", { className: "drawn" }, moewright.layersPicture(one.picture, words.layers)));
      rows.unshift(element("tr", { className: differing(all.map((one) => JSON.stringify(one.picture))) }, label("drawn"), ...drawn));
      const taken = all.flatMap((one, i) => Object.entries(one.taken).filter(([, text]) => text).flatMap(([label, text]) => {
        const id = `${name}-taken-${i}-${label.replaceAll(/[._]/g, "-")}`;
        return [
          element("details", { className: "copied" }, element("summary", {}, `${i + 1}: ${label}`), element("pre", { id, tabIndex: 0 }, text)),
          element("button", { type: "button", className: "copy", data: { copy: id } }, `Copy ${label} ${i + 1}`),
        ];
      }));
      const heads = [...picked].map(([key, one], i) => {
        const remove = element("button", { type: "button", ariaLabel: `Take ${one.title} away` }, "\u00d7");
        remove.addEventListener("click", () => unpick(key));
        return [element("span", {}, `${i + 1}: ${one.title} `, remove)];
      });
      side.replaceChildren(
        boxed("Side by side, each at the budgets under which it was picked; what differs is marked", [[""], ...heads], rows),
        element("div", { className: "taken" }, ...taken));
    }

    // What is undecided, by cost and by mean loss. Pointed at, or stepped through by arrow keys, a dot says which design it is.
    function plot() {
      const width = Math.min(640, Math.max(300, answer.clientWidth || 640)), height = 280, left = 54, bottom = 40;
      const ends = whatIf.valuesAt(setting.training, carried.hours, now.rows);
      const [slow, fast] = carried.hours.map((step) => ends.get(step));
      const x = slow.map((_, i) => Math.log(Math.sqrt(slow[i] * fast[i]))), y = now.means;
      const least = (values) => values.reduce((a, b) => Math.min(a, b)), most = (values) => values.reduce((a, b) => Math.max(a, b));
      const [x0, x1, y0, y1] = [least(x), most(x), least(y), most(y)];
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
      const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": "Undecided designs by hours of training and mean loss over the laws; arrow keys go from one to the next" });
      const ring = shape("circle", { r: 5, class: "pointed-dot", visibility: "hidden" });
      svg.append(shape("path", { d: dots, class: "dots" }), shape("circle", { cx: toX(x[first]), cy: toY(y[first]), r: 6, class: "chosen-dot" }), ring);
      for (const share of [0, 0.5, 1]) {
        const at = x0 + share * (x1 - x0), loss = share * (y1 - y0);
        svg.append(shape("text", { x: toX(at), y: height - 22, "text-anchor": ["start", "middle", "end"][2 * share] }, moewright.count(Math.exp(at), 3)));
        svg.append(shape("text", { x: left - 2, y: toY(y0 + loss) + 4, "text-anchor": "end" }, loss.toFixed(3)));
      }
      svg.append(shape("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, `${trains}-hours of training, logarithmic`));
      const pointed = element("p", { className: "pointed" }, " ");
      const point = (i) => {
        for (const [key, value] of Object.entries({ cx: toX(x[i]), cy: toY(y[i]), visibility: "visible" })) ring.setAttribute(key, value);
        pointed.textContent = `${title(sizesOf(now.rows[i]))}: ${range([slow[i], fast[i]])} ${trains}-hours, ${(y[i] - y0).toFixed(4)} nats above the least`;
        return i;
      };
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect(), scale = width / box.width;
        const far = (i) => Math.hypot(toX(x[i]) - (event.clientX - box.left) * scale, toY(y[i]) - (event.clientY - box.top) * scale);
        point(now.rows.reduce((best, _, i) => (far(i) < far(best) ? i : best), 0));
      });
      let at = null, order = null;
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        order = order || Array.from(x.keys()).sort((a, b) => x[a] - x[b]);
        at = at === null ? order.indexOf(first) : Math.min(Math.max(at + step, 0), order.length - 1);
        point(order[at]);
        moewright.say(pointed.textContent);
      });
      const caption = "Every undecided design: hours of training, and its mean loss over the laws above the least of them, nats. The ring is the recommended one.";
      return element("figure", { className: "undecided" }, svg, pointed, element("figcaption", {}, caption));
    }

    // What the first answer and a move near it need is made ready at once; the rest when somebody comes near the controls.
    const work = whatIf.prepare(setting, () => (now ? now.rows : []));
    // Moves and frames come before a background task. Idle periods come once in 50 ms: not done after 20 s, for 3 s of work.
    const later = window.scheduler?.postTask ? (call) => scheduler.postTask(call, { priority: "background" }) : (call) => setTimeout(call, 20);
    let isWanted = false, isEnough = false, isPaused = false;
    const next = () => {
      const until = performance.now() + AT_ONCE;
      let { value, done } = work.next();
      while (!done && !value && performance.now() < until) ({ value, done } = work.next());
      if (value && !isReady) { isReady = true; show(); restore(); } else if (value) isEnough = true;
      isPaused = isEnough && !isWanted;
      if (!done && !isPaused) later(next);
    };
    const want = () => { isWanted = true; if (isPaused) { isPaused = false; later(next); } };
    for (const event of ["pointerenter", "focusin"]) place.addEventListener(event, want, { once: true });
    later(next);
  }

  document.querySelectorAll("[data-what-if]").forEach(open);
})();
