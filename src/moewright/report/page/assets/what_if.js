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
// Rows worked on at a time, so that what is still wanted of them stays in the processor's cache: so many numbers in all.
const BLOCK = 2048, LEAST_BLOCK = 64, IN_CACHE = 1 << 17;

// Rows after which work that nobody waits for may pause, of a law and of costs, which take more steps: some 10 ms, so that
// a move that comes meanwhile need not wait for more.
const PIECE = 2 * BLOCK, COSTS_PIECE = 512;

// Answers with a bill of serving that nobody asks for, so that a browser has compiled what the first move needs.
const REHEARSALS = 3;

// What a generator gives in the end.
function whole(work) {
  let step = work.next();
  while (!step.done) step = work.next();
  return step.value;
}

// What computing the wanted steps takes, in which order and in which places: a place is a block's buffer, or the block of
// a column that is `known` (by steps, of which only the keys are read) or wanted.
function planned(steps, wanted, known) {
  const order = [], isNeeded = new Uint8Array(steps.length), last = new Int32Array(steps.length);
  const visit = (step) => {
    if (isNeeded[step] || known.has(step)) return;
    isNeeded[step] = 1;
    const [name, first, second = first] = steps[step];
    if (name !== "number") {
      visit(first);
      visit(second);
      last[first] = last[second] = step; // who takes it last, for users come in the order of visits
    }
    order.push(step);
  };
  wanted.forEach(visit);
  const places = new Int32Array(steps.length).fill(-1), given = [], numbers = [], results = [], code = [], free = [], isWanted = new Set(wanted);
  let number = 0; // of places; one is used again for another step once nothing takes this one any more
  const placeOf = (step) => {
    if (places[step] < 0) { places[step] = number; given.push([number++, step]); }
    return places[step];
  };
  const release = (argument, step) => {
    if (last[argument] === step && isNeeded[argument] && steps[argument][0] !== "number" && !isWanted.has(argument)) free.push(places[argument]);
  };
  for (const step of order) {
    const [name, first, second = first] = steps[step];
    if (name === "number") { places[step] = number; numbers.push([number++, first]); continue; }
    const one = placeOf(first), other = placeOf(second);
    places[step] = isWanted.has(step) || !free.length ? number++ : free.pop();
    code.push([OPERATIONS[name], places[step], one, other]);
    release(first, step);
    if (second !== first) release(second, step);
  }
  for (const step of isWanted) if (isNeeded[step] && steps[step][0] !== "number") results.push([places[step], step]);
  return { number, given, numbers, results, code, wanted: wanted.map((step) => [step, steps[step]]) };
}

// The wanted steps as columns of `count` rows; `known` maps steps to columns or numbers that are there already.
const evaluate = (steps, wanted, known, count) => whole(evaluating(planned(steps, wanted, known), known, count));
function* evaluating(plan, known, count) {
  const results = new Map(plan.wanted.map(([step]) => [step, new Float64Array(count)]));
  const size = Math.min(count, BLOCK, Math.max(Math.floor(IN_CACHE / plan.number), LEAST_BLOCK));
  const views = [], columns = [];
  const isOwn = new Set([...plan.given, ...plan.results].map(([place]) => place));
  for (let place = 0; place < plan.number; place++) views.push(isOwn.has(place) ? null : new Float64Array(size));
  for (const [place, value] of plan.numbers) views[place].fill(value);
  for (const [place, step] of plan.given) {
    const value = known.get(step);
    if (typeof value === "number") views[place] = new Float64Array(size).fill(value); else columns.push([place, value]);
  }
  for (const [place, step] of plan.results) columns.push([place, results.get(step)]);
  for (let start = 0, since = 0; start < count; start += size, since += size) {
    if (since >= PIECE) { since = 0; yield; }
    const end = Math.min(count, start + size);
    for (const [place, column] of columns) views[place] = column.subarray(start, end);
    for (const each of plan.code) each[0](views[each[1]], views[each[2]], views[each[3]], end - start);
  }
  for (const [step, [name, value]] of plan.wanted) {
    const there = known.get(step);
    if (there !== undefined) { if (typeof there === "number") results.get(step).fill(there); else results.get(step).set(there); }
    else if (name === "number") results.get(step).fill(value);
  }
  return results;
}

function decoded(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

// The carried designs, and `decide(setting)`; a setting is {limits, training, laws, off, prefer, serve_tokens, prices}: the
// most of each limit, the place of the training, names of laws, the rules that are off as bits, a preference, tokens
// generated in the model's life (0: no such bill), prices of a device-hour {train, serve} (0: unknown).
function openWhatIf(data) {
  const { count } = data;
  const steps = data.steps.map(([operation, ...rest]) => [data.operations[operation], ...rest]);
  const sizes = {};
  for (const table of data.tables) {
    const places = decoded(table.places, Uint16Array);
    table.names.forEach((name, column) => {
      sizes[name] = gathered(table.rows.map((row) => row[column]), places);
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
    if (!fixed.has(step)) whole(makingColumn(step));
    return fixed.get(step);
  };
  function* makingColumn(step) {
    fixed.set(step, (yield* evaluating(planned(steps, [step], fixed), fixed, count)).get(step));
  }
  // Columns at one of the trainings, each computed once.
  const columnsAt = (place, wanted) => whole(makingColumnsAt(place, wanted));
  function* makingColumnsAt(place, wanted) {
    if (!byTraining.has(place)) byTraining.set(place, new Map([[training, data.trainings[place].amount]]));
    const own = byTraining.get(place);
    const late = wanted.filter((step) => !fixed.has(step) && !own.has(step));
    if (late.length) {
      const borders = [...new Set(late.flatMap(bordersOf))].filter((step) => !fixed.has(step));
      for (const [step, values] of yield* evaluating(planned(steps, borders, fixed), fixed, count)) fixed.set(step, values);
      const moved = late.filter((step) => moving[step]), known = new Map([...fixed, ...own]);
      for (const [step, values] of yield* evaluating(planned(steps, moved, known), known, count)) own.set(step, values);
    }
    return wanted.map((step) => (step === training ? new Float64Array(count).fill(own.get(step)) : own.get(step) || fixed.get(step)));
  }
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

  // Steps that are asked for together, for a few rows: each row is computed when it is first asked for.
  const groups = [
    [...new Set([...Object.values(data.counts), data.kv])], data.hours, ...data.laws.map((law) => law.readings.own),
    ...data.laws.filter((law) => law.draws).map((law) => Object.values(law.draws.variables)),
    ...data.served.flatMap(({ decode, first, bill }) => [decode, first, bill.batches.flatMap((each) => [...each.rates, each.fits])]),
  ];
  const groupOf = new Map(groups.flatMap((group) => group.map((step) => [step, group])));
  const partial = new Map(), plans = new Map();
  const leaves = steps.flatMap(([name, what], step) => (name === "given" && step !== training ? [[step, sizes[what]]] : name === "column" ? [[step, carried[what]]] : []));
  const drawn = new Map(data.laws.filter((law) => law.draws).map((law) => [law.name, openDraws(law.draws)]));

  function filled(place, group, rows) {
    const key = `${group.some((step) => moving[step]) ? place : ""}|${groups.indexOf(group)}`;
    if (!partial.has(key)) partial.set(key, { isKnown: new Uint8Array(count), columns: new Map(group.map((step) => [step, new Float64Array(count)])) });
    const { isKnown, columns } = partial.get(key);
    const missing = [];
    for (let i = 0; i < rows.length; i++) if (!isKnown[rows[i]]) { missing.push(rows[i]); isKnown[rows[i]] = 1; }
    if (missing.length) {
      const known = new Map([[training, data.trainings[place].amount]]);
      for (const [step, column] of leaves) known.set(step, gathered(column, missing));
      if (!plans.has(group)) plans.set(group, planned(steps, group, known)); // the same columns are known at each call
      for (const [step, values] of whole(evaluating(plans.get(group), known, missing.length))) {
        const column = columns.get(step);
        for (let i = 0; i < missing.length; i++) column[missing[i]] = values[i];
      }
    }
    return columns;
  }

  // Columns of some rows only: {step: column} in the order of the rows.
  const valuesAt = (place, wanted, rows) => {
    const found = new Map();
    for (const group of new Set(wanted.map((step) => groupOf.get(step)))) {
      const columns = filled(place, group, rows);
      for (const step of group) if (wanted.includes(step)) found.set(step, gathered(columns.get(step), rows));
    }
    return found;
  };

  function rowsWithin({ limits, off }) {
    const taken = data.limits.map((limit) => column(limit.cost));
    const found = new Int32Array(count);
    let number = 0, start = 0;
    for (const [breaks, length] of data.rules.runs) {
      const end = start + length;
      for (let row = start; row < end && (breaks & off) === breaks; row++) {
        let isWithin = true;
        for (let i = 0; i < taken.length && isWithin; i++) isWithin = taken[i][row] <= limits[i];
        if (isWithin) found[number++] = row;
      }
      start = end;
    }
    return found.subarray(0, number);
  }

  function decide(setting) {
    const at = data.trainings[setting.training];
    if (setting.off && setting.limits.some((most, i) => most < data.rules.low[i] || most > data.rules.high[i])) return { reason: "far" };
    const laws = data.laws.filter((law) => setting.laws.includes(law.name) && isHeard(at, law.name, setting));
    if (!laws.length) return { reason: "silent" };
    const within = rowsWithin(setting);
    if (!within.length) return { reason: "empty" };
    const readingsOf = (law) => law.readings[at.as_they_are ? "own" : "heard"];
    const losses = columnsAt(setting.training, laws.flatMap(readingsOf));
    const lossesOf = (law) => columnsAt(setting.training, readingsOf(law));
    const beyond = laws.find((law) => law.floor !== null && lossesOf(law).some((loss) => within.some((row) => !(loss[row] > 0 && loss[row] >= law.floor * (1 - 1e-9)))));
    if (beyond) return { reason: "beyond", law: beyond.name };
    const rows = undecided(within, losses, data.margin);
    const weights = laws.flatMap((law) => readingsOf(law).map((_, __, all) => [all.length, laws.length]));
    const means = Float64Array.from(rows, (row) => losses.reduce((sum, loss, i) => sum + loss[row] / weights[i][0] / weights[i][1], 0));
    const worth = worthOfTraining(at, laws, setting.limits);
    const served = data.served.find((each) => setting.limits[data.size.limit] <= each.most);
    const [train, decode] = data.weights[isBilled(setting) ? "balanced" : setting.prefer]; // the whole bill takes no preference
    const byCost = worth.nats !== null && train + decode > 0;
    const found = valuesAt(setting.training, [...data.hours, ...served.decode], rows);
    const [slow, fast, low, high] = [...data.hours, ...served.decode].map((step) => found.get(step));
    const life = lifeOf(setting, served, rows, [slow, fast]);
    const own = !byCost ? means : life ? billsAtEqualLoss(life.bill, means, worth.nats)
      : means.map((mean, i) => mean / worth.nats + train * Math.log(Math.sqrt(slow[i] * fast[i])) - decode * Math.log(Math.sqrt(low[i] * high[i])));
    const { num_layers, num_experts, top_k, shared_experts } = sizes;
    const order = Array.from(rows.keys()).sort((a, b) => own[a] - own[b]
      || num_layers[rows[a]] - num_layers[rows[b]] || num_experts[rows[a]] - num_experts[rows[b]]);
    const leaders = new Map();
    for (const i of order) {
      if (own[i] === Infinity) continue; // not one sequence fits: no bill, and so no choice
      const row = rows[i], mixture = `${num_experts[row]}/${top_k[row]}+${shared_experts[row]}`;
      if (!leaders.has(mixture)) leaders.set(mixture, row);
    }
    if (!leaders.size) return { reason: "unserved" };
    const scores = new Map(Array.from(rows, (row, i) => [row, own[i]]));
    return { rows, leaders: [...leaders.values()], scores, byCost, means, worth, served, life, laws: laws.map((law) => law.name) };
  }

  // What serving the tokens of a life takes, by designs/serving_bill.py: device-hours, batches, and the bill of training and
  // serving in money where both prices are known, else in hours of the one device. Null where there is no such bill.
  function lifeOf(setting, served, rows, trained) {
    const { devices, batches } = served.bill;
    if (!isBilled(setting)) return null;
    const found = valuesAt(setting.training, batches.flatMap((each) => [...each.rates, each.fits]), rows);
    return life(setting, devices, batches.map(({ batch, rates, fits }) => ({ batch, rates: rates.map((step) => found.get(step)), fits: found.get(fits) })), trained);
  }
  const isBilled = ({ serve_tokens, prices }) => serve_tokens > 0 && (data.one_device || (prices.train > 0 && prices.serve > 0));
  const speed = data.limits.findIndex((limit) => limit.name === "decode_tokens_per_second");

  function life(setting, devices, batches, trained) {
    const number = trained[0].length;
    const [low, high, sequences] = [0, 1, 2].map(() => new Float64Array(number));
    const least = speed < 0 ? 0 : 1 / setting.limits[speed];
    const asked = batches[0].batch;
    const take = (i, { batch, rates: [slow, fast] }) => { [low[i], high[i], sequences[i]] = [batch * slow[i], batch * fast[i], batch]; };
    const smaller = batches.filter(({ batch }) => batch <= asked); // the largest first
    for (let i = 0; i < number; i++) {
      const fitting = smaller.filter(({ fits }) => fits[i] >= 0);
      const chosen = fitting.find(({ rates }) => rates[0][i] >= least) || fitting[0];
      if (chosen) take(i, chosen);
    }
    for (const each of batches.filter(({ batch }) => batch > asked)) {
      let isAny = false;
      for (let i = 0; i < number; i++) {
        if (!(each.fits[i] >= 0 && each.rates[0][i] >= least && each.batch * each.rates[0][i] > low[i])) continue;
        isAny = true;
        take(i, each);
      }
      if (!isAny) break;
    }
    const hours = [high, low].map((rates) => rates.map((rate) => (setting.serve_tokens * devices / 3600) / rate));
    const isMoney = setting.prices.train > 0 && setting.prices.serve > 0;
    const [train, serve] = isMoney ? [setting.prices.train, setting.prices.serve] : [1, 1];
    const bill = [trained.map((ends) => ends.map((each) => each * train)), hours.map((ends) => ends.map((each) => each * serve))];
    return { hours, sequences, bill };
  }

  function billsAtEqualLoss([training, serving], means, worth) {
    const least = means.reduce((a, b) => Math.min(a, b));
    return means.map((mean, i) => Math.log(Math.sqrt(training[0][i] * training[1][i]) * Math.exp((mean - least) / worth) + Math.sqrt(serving[0][i] * serving[1][i])));
  }

  // A law falls silent where some design within the limits has too few training tokens for it.
  function isHeard(at, name, { limits, off }) {
    const isThere = (costs) => costs.every((cost, i) => cost <= limits[i]);
    return at.heard.includes(name) && !(at.silent_where[name] || []).some((where) => (where.off & off) === where.off && where.costs.some(isThere));
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
    const wanted = [...Object.values(data.counts), ...data.hours, ...found.served.decode, ...found.served.first, data.kv];
    const values = valuesAt(setting.training, wanted, [row]);
    const at = (step) => values.get(step)[0];
    const [total, active] = [at(data.counts.total_params), at(data.counts.active_params)];
    const distance = (model) => Math.abs(Math.log(model.total_params / total)) + Math.abs(Math.log(model.active_params / active));
    const model = data.beside.reduce((best, each) => (distance(each) < distance(best) ? each : best));
    const middle = ([low, high]) => Math.sqrt(low * high);
    const ofModel = found.life && lifeOfModel(setting, model, served);
    const share = (steps, ends) => middle(steps.map(at)) / middle(ends) - 1;
    return {
      name: model.name,
      train_device_hours: share(data.hours, model.hours[setting.training]),
      decode_tokens_per_second: share(found.served.decode, model.decode[served]),
      time_to_first_token: share(found.served.first, model.first[served]),
      memory_bytes: at(data.counts.memory_bytes) / model.memory_bytes - 1,
      kv_bytes_per_token: model.kv ? at(data.kv) / model.kv - 1 : null,
      below: below(drawnOf(setting, row), Object.fromEntries(Object.entries(model.variables).map(([law, each]) => [law, each[setting.training]]))),
      whole_bill: found.life && ofModel.sequences[0] ? wholeBill(found.life.bill, found.rows.indexOf(row)) / wholeBill(ofModel.bill, 0) - 1 : null,
    };
  }
  // What the draws of fitted laws say of a design's loss: by law, what its formula takes of the design.
  function drawnOf(setting, row) {
    const laws = data.laws.filter((law) => law.draws && setting.laws.includes(law.name));
    return Object.fromEntries(laws.map(({ name, draws }) => {
      const values = valuesAt(setting.training, Object.values(draws.variables), [row]);
      return [name, Object.fromEntries(Object.entries(draws.variables).map(([variable, step]) => [variable, values.get(step)[0]]))];
    }));
  }
  // By law: the share of its draws under which the first model ends below the second; both as `drawnOf` gives them.
  function below(one, other) {
    const laws = Object.keys(one).filter((law) => other[law]);
    return Object.fromEntries(laws.map((law) => [law, drawn.get(law)(one[law], other[law])]));
  }
  const wholeBill = (bill, place) => bill.reduce((sum, [low, high]) => sum + Math.sqrt(low[place] * high[place]), 0);
  function lifeOfModel(setting, model, served) {
    const batches = model.bill[served].map(({ batch, rates, fits }) => ({ batch, rates: rates.map((rate) => [rate]), fits: [fits] }));
    return life(setting, data.served[served].bill.devices, batches, model.hours[setting.training].map((hours) => Float64Array.of(hours)));
  }

  // What designs need at any setting, a piece a call: a page asks for it while nobody moves anything. Gives true when
  // the first training can be answered, and again when a bill of serving can be; from then on moves only get faster.
  function* prepare(asked, soon = () => []) {
    const first = asked.training;
    for (const { cost } of data.limits) if (!fixed.has(cost)) { yield* makingColumn(cost); yield false; }
    const places = [...data.trainings.keys()].sort((a, b) => Math.abs(a - first) - Math.abs(b - first));
    const chosenBy = [data.hours, ...data.served.flatMap(({ decode, bill }) => [decode, ...bill.batches.flatMap((each) => [each.rates, [each.fits]])])].flat();
    const costs = [...new Set(chosenBy.map((step) => groupOf.get(step)))];
    const all = Int32Array.from({ length: count }, (_, i) => i);
    for (const place of places) {
      for (const law of data.laws)
        for (const step of new Set([...law.readings.heard, ...law.readings.own])) { yield* makingColumnsAt(place, [step]); yield false; }
      if (place !== first) { yield false; continue; }
      yield* rehearsing(first);
      yield true;
      for (const group of costs) yield* filling(first, group, soon());
      for (let time = 0; time < REHEARSALS; time++) { decide({ ...asked, serve_tokens: 1e12, prices: { train: 1, serve: 1 } }); yield false; }
      yield true;
    }
    for (const place of places) for (const group of costs) yield* filling(place, group, all);
  }
  // What is undecided among each piece of the designs: nobody asks, but a browser runs a loop slowly until it has compiled
  // it, and an answer that waited for that would take 50 ms more.
  function* rehearsing(place) {
    const losses = columnsAt(place, data.laws.flatMap((law) => law.readings.heard));
    for (let start = 0; start < count; start += PIECE) {
      undecided(Int32Array.from({ length: Math.min(PIECE, count - start) }, (_, i) => start + i), losses, data.margin);
      yield false;
    }
  }
  function* filling(place, group, rows) {
    for (let start = 0; start < rows.length; start += COSTS_PIECE) { filled(place, group, rows.slice(start, start + COSTS_PIECE)); yield false; }
  }

  return { sizes, decide, column, columnsAt, valuesAt, beside, drawnOf, below, prepare };
}

// The rows that no other beats: better by more than the margin in every reading.
function undecided(rows, losses, margin) {
  // What beats a row has a row of the front as good as itself, and nothing beats a row of the front. So the front is looked
  // for among the rows that the best of each reading, and of their sum, leave.
  const best = new Set([rows[leastOf(sumsOf(rows, losses))], ...losses.map((loss) => leastRow(rows, loss))]);
  const left = unbeaten(rows, [...best], losses, margin);
  return unbeaten(left, front(left, losses), losses, margin);
}

// Loops instead of `from` and `map`, which browsers take ten times as long for on typed arrays of this length.
function gathered(column, rows) {
  const found = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i++) found[i] = column[rows[i]];
  return found;
}

function sumsOf(rows, columns) {
  const found = new Float64Array(rows.length);
  for (const column of columns) for (let i = 0; i < rows.length; i++) found[i] += column[rows[i]];
  return found;
}

function leastOf(values) {
  let least = 0;
  for (let i = 1; i < values.length; i++) if (values[i] < values[least]) least = i;
  return least;
}

function leastRow(rows, column) {
  let least = rows[0];
  for (let i = 1; i < rows.length; i++) if (column[rows[i]] < column[least]) least = rows[i];
  return least;
}

// The rows that none of the rivals beats.
function unbeaten(rows, rivals, losses, margin) {
  const found = [];
  const bars = rivals.map((rival) => Float64Array.from(losses, (loss) => loss[rival] + margin));
  for (const row of rows) {
    let isBeaten = false;
    for (let k = 0; k < bars.length && !isBeaten; k++) {
      const bar = bars[k];
      let i = 0;
      while (i < losses.length && losses[i][row] > bar[i]) i++;
      if (i < losses.length) continue;
      isBeaten = true;
      if (k) { bars[k] = bars[k >> 1]; bars[k >> 1] = bar; } // who beats many is asked first
    }
    if (!isBeaten) found.push(row);
  }
  return found;
}

// The rows than which no other is as good in all readings and better in one; what beats a row has one of them as good.
function front(rows, losses) {
  const found = [];
  let left = Int32Array.from(rows), sums = sumsOf(left, losses);
  while (left.length) {
    const first = left[leastOf(sums)];
    found.push(first);
    let kept = 0;
    for (let i = 0; i < left.length; i++) {
      let isBetter = false;
      for (let k = 0; k < losses.length && !isBetter; k++) isBetter = losses[k][left[i]] < losses[k][first];
      if (!isBetter) continue;
      [left[kept], sums[kept]] = [left[i], sums[i]];
      kept++;
    }
    [left, sums] = [left.subarray(0, kept), sums.subarray(0, kept)];
  }
  return found;
}
