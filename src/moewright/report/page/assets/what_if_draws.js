"use strict";
// How sure a fitted law is that one model ends below another: the share of its draws, by laws/fitting, whose formula
// Python recorded. A model is what the law's formula takes of it, by the names of its variables.
function openDraws({ number, steps, loss, coefficients, residuals, farthest, directions }) {
  const known = new Map(), variables = [];
  steps.forEach(([name, what], step) => {
    if (name !== "given") return;
    if (what in coefficients) known.set(step, decoded(coefficients[what], Float64Array));
    else variables.push([step, what]);
  });
  const residualsOf = residuals.map((text) => decoded(text, Float64Array));
  const standards = directions.map(({ standard }) => decoded(standard, Float64Array));

  function distance({ variable, logarithmic, low, high }, model) {
    const value = variable === null ? (model.active_params ?? model.total_params) * model.train_tokens : model[variable];
    const outside = logarithmic ? Math.max(Math.log(value / high), Math.log(low / value)) : Math.max(value - high, low - value) / Math.max(high - low, 1e-300);
    return Math.min(Math.max(Number.isNaN(outside) ? Infinity : outside, 0), farthest);
  }

  // The form's own error beyond the runs; that of compute, which the other directions move, counts where it is more.
  function errorsOf(model) {
    const spreads = directions.map((direction) => direction.slope * distance(direction, model));
    const squares = (isCompute) => directions.reduce((sum, { variable }, i) => sum + ((variable === null) === isCompute ? spreads[i] ** 2 : 0), 0);
    const [alone, told] = [squares(false), squares(true)];
    const grown = alone > 0 ? Math.sqrt(Math.max(alone, told) / alone) : 1;
    const found = new Float64Array(number);
    directions.forEach(({ variable }, i) => {
      if ((variable === null) === alone > 0) return;
      for (let k = 0; k < number; k++) found[k] += standards[i][k] * spreads[i] * grown;
    });
    return found;
  }

  // Losses of one new run under every draw; `place`: which of a pair the model is, whose residuals are its own.
  function lossesOf(model, place) {
    const given = new Map([...known, ...variables.map(([step, name]) => [step, model[name]])]);
    const found = evaluate(steps, [loss], given, number).get(loss), errors = errorsOf(model);
    for (let k = 0; k < number; k++) found[k] *= Math.exp(errors[k] + residualsOf[place][k]);
    return found;
  }

  // Share of the draws under which one ends below the other.
  return (one, other) => {
    const [first, second] = [lossesOf(one, 0), lossesOf(other, 1)];
    let below = 0;
    for (let k = 0; k < number; k++) below += first[k] < second[k];
    return below / number;
  };
}
