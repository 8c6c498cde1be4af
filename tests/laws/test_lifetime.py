"""Training and serving together: Sardana et al. 2024 (arXiv 2401.00448), and a search by brute force."""

import json
from dataclasses import replace

import numpy as np
import pytest

import moewright
from moewright import UserError, laws
from moewright.laws.law import InapplicableLaw, LossLaw
from moewright.laws.lifetime import Lifetime, least_bill
from moewright.laws.prediction import PredictionAnswer
from moewright.laws.repeated_data import effective_tokens
from tests.test_cli import run

OLMOE = "examples/configs/olmoe-1b-7b.json"


def papers_law() -> LossLaw:
    """Hoffmann's law with the exponents of fewer digits that are usual."""
    given = laws.get("hoffmann2022").as_loss_law()
    return replace(given, coefficients={"E": 1.69, "A": 406.4, "alpha": 0.336, "B": 410.7, "beta": 0.283})


def test_the_papers_first_figure() -> None:
    """A 13B model at its optimum without serving, 2T tokens served: a 7B one saves 1.7e22 FLOPs, 17 %."""
    law, size = papers_law(), 13e9
    budgets = np.geomspace(1e20, 1e24, 200_001)
    flops = float(np.interp(size, law.optimum(train_flops=budgets)["total_params"], budgets))
    tokens = flops / (6 * size)
    life = Lifetime(size, tokens, None, 2e12)
    best = least_bill(law, {"total_params": size, "train_tokens": tokens}, life)
    assert best.active_params == pytest.approx(7e9, rel=0.01)
    assert life.flops - best.flops == pytest.approx(1.7e22, rel=0.01)
    assert best.saved == pytest.approx(0.17, abs=0.005)
    assert best.active_params_unserved == pytest.approx(size, rel=1e-3)
    assert best.train_tokens_unserved == pytest.approx(tokens, rel=1e-3)


@pytest.mark.parametrize("name", ["zhao2025", "ludziejewski2025", "abnar2025"])
@pytest.mark.parametrize("unique", [None, 4e11])
def test_no_other_size_takes_less(name: str, unique: float | None) -> None:
    """By brute force over sizes and tokens of the given model's loss, with tokens seen again or not."""
    random = np.random.default_rng(0)
    law = laws.get(name)
    found = moewright.predict(OLMOE, "2T", law=name, serve_tokens="10T", unique_tokens=unique)
    (answer,) = found.laws
    best, life = answer.least_bill, found.life
    assert best is not None
    assert life is not None
    scaled = [v.name for v in law.inputs if v.unit == "parameters"]
    worth = effective_tokens(best.train_tokens, unique)
    at_best = {k: v * (best.size if k in scaled else 1) for k, v in answer.variables.items()}
    assert law.loss(**{**at_best, "train_tokens": worth}) == pytest.approx(answer.loss, rel=1e-9)
    tokens = np.geomspace(1e9, 1e15, 2_000)
    seen = np.array([effective_tokens(each, unique) for each in tokens]) if unique else tokens
    for size in np.exp(random.uniform(-2.5, 2.5, 60)):
        there = {k: v * (size if k in scaled else 1) for k, v in answer.variables.items()}
        reached = tokens[law.loss(**{**there, "train_tokens": seen}) <= answer.loss]
        if len(reached):
            assert life.active_params * size * (6 * reached[0] + 2e13) >= best.flops * (1 - 1e-9)
    assert 0 <= best.saved < 1


def test_more_to_serve_is_smaller_and_longer() -> None:
    found = [
        moewright.predict(OLMOE, "2T", law="zhao2025", serve_tokens=f"{n}T").laws[0].least_bill for n in (1, 10, 99)
    ]
    sizes = [each.active_params for each in found if each is not None]
    tokens = [each.train_tokens for each in found if each is not None]
    assert sizes == sorted(sizes, reverse=True)
    assert tokens == sorted(tokens)
    assert len(sizes) == 3


def test_laws_that_cannot_say_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "predict", OLMOE, "--train-tokens", "2T", "--serve-tokens", "10T")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "clark2022: no variable for training tokens" in " ".join(out.split())
    code, out, _ = run(capsys, "predict", OLMOE, "--train-tokens", "2T", "--serve-tokens", "10T", "--json")
    values = json.loads(out)
    assert PredictionAnswer.from_dict(values).to_dict() == values
    assert values["lifetime_flops"] == pytest.approx(1_282_017_280 * (6 * 2e12 + 2 * 10e12), rel=1e-3)
    with pytest.raises(UserError, match="one model"):
        moewright.predict([OLMOE, "dbrx"], "2T", serve_tokens="1T")
    law = laws.get("hoffmann2022")
    with pytest.raises(InapplicableLaw, match="more than 100 times"):
        least_bill(law, {"total_params": 1e14, "train_tokens": 1e9}, Lifetime(1e14, 1e9, None, 1e9))
