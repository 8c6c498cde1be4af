"use strict";
// What `moewright design` would answer at other budgets, over the designs that a page carries. Counts, costs and losses
// are not written here: Python recorded its own formulas as a list of steps (designs/recorded.py), which `evaluate` runs.
// What is written here a second time is the rule that chooses: who is heard, what is undecided, what cost decides.
// tests/report/page compares every answer with the command's.

// Each with a loop of its own, which browsers compile into a few instructions.
const OPERATIONS = {
  add: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] + b[i]; },
  subtract: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] - b[i]; },
  multiply: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] * b[i]; },
  divide: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] / b[i]; },
  floor_divide: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.floor(a[i] / b[i]); },
  power: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.pow(a[i], b[i]); },
  negative: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = -a[i]; },
  exp: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.exp(a[i]); },
  log: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.log(a[i]); },
  log2: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.log2(a[i]); },
  log10: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.log10(a[i]); },
  sqrt: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.sqrt(a[i]); },
  ceil: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.ceil(a[i]); },
  floor: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.floor(a[i]); },
  maximum: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.max(a[i], b[i]); },
  minimum: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = Math.min(a[i], b[i]); },
  greater: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] > b[i] ? 1 : 0; },
  greater_equal: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] >= b[i] ? 1 : 0; },
  less: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] < b[i] ? 1 : 0; },
  less_equal: (out, a, b, n) => { for (let i = 0; i < n; i++) out[i] = a[i] <= b[i] ? 1 : 0; },
};
const BLOCK = 2048; // rows worked on at a time, so that all steps of them stay in the processor's cache

// The wanted steps as columns of `count` rows; `known` maps steps to columns or numbers that are there already.
function evaluate(steps, wanted, known, count) {
  const needed = new Set();
  const visit = (step) => {
    if (needed.has(step) || known.has(step)) return;
    if (steps[step][0] !== "number") for (const argument of steps[step].slice(1)) visit(argument);
    needed.add(step);
  };
  wanted.forEach(visit);
  const results = new Map(wanted.map((step) => [step, new Float64Array(count)]));
  const buffers = new Map();
  const constant = (value) => new Float64Array(BLOCK).fill(value);
  for (const [step, value] of known) if (typeof value === "number") buffers.set(step, constant(value));
  const work = [];
  for (const step of needed) {
    const [name, ...rest] = steps[step];
    buffers.set(step, name === "number" ? constant(rest[0]) : new Float64Array(BLOCK));
    if (name !== "number") work.push([OPERATIONS[name], buffers.get(step), rest]);
  }
  for (let start = 0; start < count; start += BLOCK) {
    const end = Math.min(count, start + BLOCK);
    const rows = (step) => buffers.get(step) || known.get(step).subarray(start, end);
    for (const [operation, out, [first, second]] of work) {
      operation(out, rows(first), second === undefined ? null : rows(second), end - start);
    }
    for (const step of wanted) results.get(step).set(rows(step).subarray(0, end - start), start);
  }
  return results;
}

function decoded(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

// The carried designs, and `decide(setting)`; a setting is {limits, training, laws, prefer}: the most of each limit, the
// place of the training, names of laws, a preference.
function openWhatIf(data) {
  const { steps, count } = data;
  const sizes = {};
  for (const table of data.tables) {
    const places = decoded(table.places, Uint16Array);
    table.names.forEach((name, column) => {
      sizes[name] = Float64Array.from(places, (place) => table.rows[place][column]);
    });
  }
  const carried = data.carried.map((text) => decoded(text, Float64Array));
  const fixed = new Map(); // columns that do not depend on the training
  const moving = steps.map(() => false);
  steps.forEach(([name, ...rest], step) => {
    if (name === "given" && rest[0] === "training") moving[step] = true;
    else if (name === "given") fixed.set(step, sizes[rest[0]]);
    else if (name === "column") fixed.set(step, carried[rest[0]]);
    else if (name !== "number") moving[step] = rest.some((argument) => moving[argument]);
  });
  const training = steps.findIndex(([name, what]) => name === "given" && what === "training");
  const byTraining = new Map();

  const column = (step) => {
    if (!fixed.has(step)) fixed.set(step, evaluate(steps, [step], fixed, count).get(step));
    return fixed.get(step);
  };
  // Columns at one of the trainings, each computed once.
  const columnsAt = (place, wanted) => {
    if (!byTraining.has(place)) byTraining.set(place, new Map([[training, data.trainings[place].amount]]));
    const own = byTraining.get(place);
    const late = wanted.filter((step) => !fixed.has(step) && !own.has(step));
    if (late.length) {
      const borders = [...new Set(late.flatMap(bordersOf))].filter((step) => !fixed.has(step));
      for (const [step, values] of evaluate(steps, borders, fixed, count)) fixed.set(step, values);
      const moved = late.filter((step) => moving[step]);
      for (const [step, values] of evaluate(steps, moved, new Map([...fixed, ...own]), count)) own.set(step, values);
    }
    return wanted.map((step) => (step === training ? new Float64Array(count).fill(own.get(step)) : own.get(step) || fixed.get(step)));
  };
  // The columns without training from which a step goes on with it.
  const bordersOf = (wanted) => {
    const seen = new Set(), found = [];
    const visit = (step) => {
      if (seen.has(step)) return;
      seen.add(step);
      if (!moving[step]) { if (steps[step][0] !== "number") found.push(step); }
      else if (steps[step][0] !== "given") steps[step].slice(1).forEach(visit);
    };
    visit(wanted);
    return found;
  };

  function decide(setting) {
    const at = data.trainings[setting.training];
    const within = [];
    const taken = data.limits.map((limit) => column(limit.cost));
    for (let row = 0; row < count; row++) if (taken.every((costs, i) => costs[row] <= setting.limits[i])) within.push(row);
    const laws = data.laws.filter((law) => setting.laws.includes(law.name) && isHeard(at, law.name, setting.limits));
    if (!laws.length) return { reason: "silent" };
    if (!within.length) return { reason: "empty" };
    const readings = laws.flatMap((law) => law.readings[at.as_they_are ? "own" : "heard"]);
    const losses = columnsAt(setting.training, readings);
    const rows = undecided(within, losses, data.margin);
    const mean = (row) => {
      let total = 0, place = 0;
      for (const law of laws) {
        const own = law.readings[at.as_they_are ? "own" : "heard"].length;
        for (let i = 0; i < own; i++) total += losses[place++][row] / own / laws.length;
      }
      return total;
    };
    const worth = worthOfTraining(at, laws, setting.limits);
    const served = data.served.find((each) => setting.limits[data.size.limit] <= each.most);
    const [train, decode] = data.weights[setting.prefer];
    const byCost = worth.nats !== null && train + decode > 0;
    const [slow, fast] = columnsAt(setting.training, data.hours);
    const [low, high] = served.decode.map(column);
    const scores = new Map(rows.map((row) => [row, byCost
      ? mean(row) / worth.nats + train * Math.log(Math.sqrt(slow[row] * fast[row])) - decode * Math.log(Math.sqrt(low[row] * high[row]))
      : mean(row)]));
    const { num_layers, num_experts, top_k, shared_experts } = sizes;
    const order = [...rows].sort((a, b) => scores.get(a) - scores.get(b) || num_layers[a] - num_layers[b] || num_experts[a] - num_experts[b]);
    const leaders = new Map();
    for (const row of order) {
      const mixture = `${num_experts[row]}/${top_k[row]}+${shared_experts[row]}`;
      if (!leaders.has(mixture)) leaders.set(mixture, row);
    }
    return { rows, leaders: [...leaders.values()], scores, byCost, mean, worth, served, laws: laws.map((law) => law.name) };
  }

  // A law falls silent where some design within the limits has too few training tokens for it.
  function isHeard(at, name, limits) {
    return at.heard.includes(name) && !(at.silent_where[name] || []).some((costs) => costs.every((cost, i) => cost <= limits[i]));
  }

  function worthOfTraining(at, laws, limits) {
    const { size, active } = data;
    const total = limits[size.limit] * size.params;
    const distance = (model) => Math.abs(Math.log(model.total_params / total))
      + (active === null ? 0 : Math.abs(Math.log(model.active_params / limits[active])));
    const nearest = data.published.reduce((best, model) => (distance(model) < distance(best) ? model : best));
    const found = laws.map((law) => at.worth[nearest.name][law.name]).filter((nats) => nats !== undefined);
    const nats = found.reduce((sum, each) => sum + each, 0) / found.length;
    return { nats: nats > 0 ? nats : null, at: nearest.name };
  }

  // The first design of an answer against the model that stands beside it: shares of the model's figures.
  function beside(setting, found) {
    const row = found.leaders[0], served = data.served.indexOf(found.served);
    const at = (step) => columnsAt(setting.training, [step])[0][row];
    const [total, active] = [at(data.counts.total_params), at(data.counts.active_params)];
    const distance = (model) => Math.abs(Math.log(model.total_params / total)) + Math.abs(Math.log(model.active_params / active));
    const model = data.beside.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    const middle = ([low, high]) => Math.sqrt(low * high);
    const share = (steps, ends) => middle(steps.map(at)) / middle(ends) - 1;
    return {
      name: model.name,
      train_device_hours: share(data.hours, model.hours[setting.training]),
      decode_tokens_per_second: share(found.served.decode, model.decode[served]),
      time_to_first_token: share(found.served.first, model.first[served]),
      memory_bytes: at(data.counts.memory_bytes) / model.memory_bytes - 1,
      kv_bytes_per_token: model.kv ? at(data.kv) / model.kv - 1 : null,
    };
  }

  // All columns that some setting needs, a few a call: a page asks for them while nobody moves anything.
  function* prepare() {
    for (const each of data.served) { columnsAt(0, [...each.decode, ...each.first]); yield; }
    columnsAt(0, [data.kv, ...Object.values(data.counts)]);
    yield;
    for (const place of data.trainings.keys())
      for (const law of data.laws) { columnsAt(place, [...law.readings.heard, ...law.readings.own, ...data.hours]); yield; }
  }

  return { sizes, decide, column, columnsAt, beside, prepare };
}

// The rows that no other beats: better by more than the margin in every reading.
function undecided(rows, losses, margin) {
  const rivals = front(rows, losses);
  return rows.filter((row) => !rivals.some((rival) => losses.every((loss) => loss[row] > loss[rival] + margin)));
}

// The rows than which no other is as good in all readings and better in one; what beats a row has one of them as good.
function front(rows, losses) {
  const sums = new Map(rows.map((row) => [row, losses.reduce((sum, loss) => sum + loss[row], 0)]));
  const found = [];
  let left = rows;
  while (left.length) {
    const first = left.reduce((best, row) => (sums.get(row) < sums.get(best) ? row : best));
    found.push(first);
    left = left.filter((row) => losses.some((loss) => loss[row] < loss[first]));
  }
  return found;
}
