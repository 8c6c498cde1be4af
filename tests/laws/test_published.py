"""Published laws against numbers that their papers state, brute force, and formulas written out a second time."""

import subprocess
import sys
from collections.abc import Callable
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from moewright import UserError, laws
from moewright.laws.law import LossLaw
from moewright.laws.published.krajewski2024 import model_of_width
from moewright.laws.published.ludziejewski2025 import at_experts
from tests.laws.tables import clark_s_base, joint_moe

POINT = {"total_params": 1e9, "active_params": 2e8, "train_tokens": 2e10, "active_experts": 8, "shared_ratio": 0.125}


def test_zhao_loss() -> None:
    assert laws.get("zhao2025").loss(**POINT) == pytest.approx(2.844121, abs=5e-7)


def test_zhao_optima() -> None:
    best = laws.get("zhao2025").optimum(total_params=np.array([1e8, 30e9, 100e9, 671e9]))
    assert best["active_experts"] == pytest.approx(6.778, abs=5e-4)
    assert best["shared_ratio"] == pytest.approx(0.3148, abs=5e-5)
    assert best["active_ratio"] == pytest.approx([1, 0.401, 0.318, 0.220], abs=5e-4)
    assert best["active_ratio_efficient"][1:] == pytest.approx([0.089, 0.070, 0.049], abs=5e-4)


def test_zhao_ratio_is_a_power_of_size() -> None:
    sizes = np.array([1e10, 1e12])
    ratios = laws.get("zhao2025").optimum(total_params=sizes)["active_ratio"]
    slope = log(ratios[1] / ratios[0]) / log(sizes[1] / sizes[0])
    assert slope == pytest.approx(-0.19244, abs=5e-6)
    assert ratios[0] / sizes[0] ** slope == pytest.approx(41.60, abs=5e-3)


def test_zhao_optima_are_minima_of_its_loss() -> None:
    law = laws.get("zhao2025")
    experts, shares = np.linspace(1, 20, 20_000), np.linspace(0, 0.7, 20_000)
    best = law.optimum(total_params=671e9)
    by_experts = law.loss(**{**POINT, "active_experts": experts})
    by_share = law.loss(**{**POINT, "shared_ratio": shares})
    assert experts[by_experts.argmin()] == pytest.approx(best["active_experts"], abs=1e-3)
    assert shares[by_share.argmin()] == pytest.approx(best["shared_ratio"], abs=1e-4)
    ratios = np.linspace(0.01, 1, 100_000)
    at_best = {"active_experts": best["active_experts"], "shared_ratio": best["shared_ratio"]}
    losses = law.loss(total_params=671e9, active_params=671e9 * ratios, train_tokens=1e13, **at_best)
    assert ratios[losses.argmin()] == pytest.approx(best["active_ratio"], rel=1e-3)
    slope = np.gradient(losses, ratios)
    assert ratios[np.argmax(-slope < 0.4)] == pytest.approx(best["active_ratio_efficient"], rel=1e-3)


def test_zhao_cost_of_leaving_the_optimum() -> None:
    law = laws.get("zhao2025")
    best = law.loss(**{**POINT, **law.optimum()})
    for experts, share, cost in ((8, 1 / 8, 0.0035), (8, 0, 0.0087), (1, 0, 0.093)):
        loss = law.loss(**{**POINT, "active_experts": experts, "shared_ratio": share})
        assert loss - best == pytest.approx(cost, abs=5e-4 if cost > 0.01 else 5e-5)
    nearly_free = law.loss(**{**POINT, **law.optimum(), "shared_ratio": np.array([0.13, 0.31])})
    assert (nearly_free - best).max() < 0.0035


def test_zhao_integers() -> None:
    law = laws.get("zhao2025")
    pairs = [(experts, shared) for experts in range(1, 21) for shared in range(experts)]
    losses = [
        law.loss(**{**POINT, "active_experts": experts, "shared_ratio": shared / experts}) for experts, shared in pairs
    ]
    assert pairs[int(np.argmin(losses))] == (7, 2)


@pytest.mark.parametrize(
    ("experts", "expected"),
    [
        (1, (30.363994, 0.181740, 53.983844, 0.196502)),
        (8, (21.832990, 0.167597, 119.912585, 0.233814)),
        (32, (16.542446, 0.155698, 234.672563, 0.265205)),
    ],
)
def test_ludziejewski_by_expert_count(experts: int, expected: tuple[float, ...]) -> None:
    found = at_experts(laws.get("ludziejewski2025").as_loss_law().coefficients, experts)
    # The coefficients are printed with six decimals, which leaves the last digits of A and B open.
    assert [found["A"], found["B"]] == pytest.approx([expected[0], expected[2]], rel=5e-7)
    assert [found["alpha"], found["beta"]] == pytest.approx([expected[1], expected[3]], abs=2e-6)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_abnar_optimum(sparsity: float) -> None:
    """Against a grid; dense models are all active, and the sparser the larger the best total is."""
    law = laws.get("abnar2025")
    best = law.optimum(train_flops=1e20, sparsity=sparsity)
    total = np.geomspace(1e8, 1e12, 200_001)
    active = total / (1 / 3 + 2 / 3 / (1 - sparsity))
    loss = law.loss(total_params=total, train_tokens=1e20 / 6 / active, sparsity=sparsity)
    place = int(loss.argmin())
    assert best["total_params"] == pytest.approx(total[place], rel=1e-4)
    assert best["active_params"] * best["train_tokens"] * 6 == pytest.approx(1e20)
    assert best["loss"] == pytest.approx(loss[place], rel=1e-9)
    assert best["total_params"] >= law.optimum(train_flops=1e20, sparsity=0.0)["active_params"]


@pytest.mark.parametrize(
    ("experts", "size", "tokens"), [(1, 1.7204e9, 9.688e9), (8, 9.845e8, 1.693e10), (32, 6.686e8, 2.493e10)]
)
def test_ludziejewski_optimum(experts: int, size: float, tokens: float) -> None:
    law = laws.get("ludziejewski2025")
    best = law.optimum(train_flops=1e20, num_experts=experts)
    assert best["active_params"] == pytest.approx(size, rel=1e-4)
    assert best["train_tokens"] == pytest.approx(tokens, rel=4e-4)
    found = minimize_scalar(
        lambda log_size: law.loss(
            active_params=exp(log_size), train_tokens=1e20 / 6 / exp(log_size), num_experts=experts
        ),
        bounds=(log(1e7), log(1e11)),
        method="bounded",
    )
    assert best["loss"] == pytest.approx(found.fun, abs=1e-9)


def test_ludziejewski_on_its_own_runs() -> None:
    law = laws.get("ludziejewski2025")
    for split, plain, in_log in (("train", 0.0183, 0.0060), ("test", 0.0118, 0.0048)):
        rows = joint_moe(split)
        predicted = law.loss(**{name: rows[name] for name in ("active_params", "train_tokens", "num_experts")})
        assert np.sqrt(np.mean((predicted - rows["loss"]) ** 2)) == pytest.approx(plain, abs=5e-5)
        assert np.sqrt(np.mean(np.log(predicted / rows["loss"]) ** 2)) == pytest.approx(in_log, abs=6e-5)


def test_clark_on_its_own_runs() -> None:
    rows = clark_s_base()
    assert len(rows) == 61
    predicted = laws.get("clark2022").loss(active_params=rows["active_params"], num_experts=rows["num_experts"])
    assert np.sqrt(np.mean(np.log10(predicted / rows["loss"]) ** 2)) == pytest.approx(0.0037, abs=5e-5)


# Table 2 of arXiv 2402.07871: dense size behind 64-fold expansion, tokens, granularity, FLOPs, loss.
KRAJEWSKI_TABLE = [
    (0.1e9, 4.37e9, 8, 2.95e18, 3.133),
    (1e9, 28.94e9, 16, 1.93e20, 2.491),
    (3e9, 72.90e9, 16, 1.41e21, 2.245),
    (7e9, 137.60e9, 32, 6.46e21, 2.076),
    (70e9, 941.07e9, 32, 4.16e23, 1.694),
    (300e9, 2.96e12, 64, 5.69e24, 1.503),
    (1e12, 7.94e12, 64, 4.97e25, 1.367),
]


@pytest.mark.parametrize(("dense", "tokens", "granularity", "flops", "loss"), KRAJEWSKI_TABLE)
def test_krajewski_table(dense: float, tokens: float, granularity: float, flops: float, loss: float) -> None:
    law = laws.get("krajewski2024")
    width = (64 * dense / 12) ** (1 / 3)  # dense = layers x 12 d^2 with d = 64 layers
    model = model_of_width(width, granularity)
    assert model["flops_per_token"] * tokens == pytest.approx(flops, rel=5e-3)
    low = loss - law.loss(total_params=model["total_params"], train_tokens=tokens, granularity=granularity)
    assert 0.011 <= low <= 0.0235
    best = law.optimum(train_flops=flops)
    assert best["granularity"] == granularity
    assert best["train_tokens"] == pytest.approx(tokens, rel=0.025)
    assert best["total_params"] == pytest.approx(model["total_params"], rel=0.03)


def test_ling() -> None:
    law = laws.get("ling2025")
    assert law.optimum()["granularity"] == pytest.approx(11.3, abs=0.05)
    ratios = np.array([0.031, 13 / 385])
    leverage = law.efficiency_leverage(activation_ratio=ratios, granularity=12, train_flops=1e22)
    assert leverage == pytest.approx([7.24, 6.98], abs=0.005)
    split = law.optimum(train_flops=1e20)
    assert split["flops_per_token"] * split["train_tokens"] == pytest.approx(1e20, rel=1e-3)


def test_ling_loss_through_a_dense_law() -> None:
    dense = laws.get("epoch2024")
    whole = laws.loss_through(dense, activation_ratio=0.05, granularity=8, train_flops=1e20)
    leverage = laws.get("ling2025").efficiency_leverage(activation_ratio=0.05, granularity=8, train_flops=1e20)
    sizes = np.exp(np.linspace(log(1e8), log(1e11), 100_000))
    by_size = dense.loss(total_params=sizes, train_tokens=leverage * 1e20 / 6 / sizes)
    assert whole == pytest.approx(by_size.min(), abs=1e-8)


def test_other_printed_numbers() -> None:
    assert laws.get("abnar2025").loss(total_params=1e9, train_tokens=2e10, sparsity=0.5) == pytest.approx(
        2.590, abs=5e-4
    )
    flame = laws.get("flame2025").loss(active_params=3.549e8, train_tokens=2e19 / 6 / 3.549e8)
    assert flame == pytest.approx(3.08354, abs=5e-6)
    assert laws.get("marin2026").loss(train_flops=1e21) == pytest.approx(2.606, abs=5e-4)
    assert laws.get("marin2026").loss(train_flops=1e23) == pytest.approx(2.25, abs=5e-3)
    allocation = laws.get("wan2026").optimum(train_flops=1e20)
    assert allocation["flops_per_token"] * allocation["train_tokens"] == pytest.approx(1e20, rel=1e-3)


def test_learning_rates() -> None:
    step = laws.get("steplaw")
    assert step.learning_rate(total_params=1e9, train_tokens=1e11) == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    assert step.batch_tokens(train_tokens=1e11) == pytest.approx(0.58 * 1e11**0.571)
    other = laws.get("ludziejewski2025_lr")
    assert other.learning_rate(active_params=1e8, num_experts=8) == pytest.approx(
        exp(8.39 - 0.81 * log(1e8) - 0.25 * log(8))
    )


@pytest.mark.parametrize("name", [name for name in laws.names() if "loss" in laws.get(name).gives])
def test_arrays_are_scalars_side_by_side(name: str) -> None:
    law = laws.get(name)
    random = np.random.default_rng(0)
    middle = {"shared_ratio": 0.2, "sparsity": 0.5, "num_experts": 8.0, "granularity": 4.0, "active_experts": 6.0}
    given_names = [variable.name for variable in law.inputs]
    table = {key: middle.get(key, 1e9) * random.uniform(1.0, 1.5, (3, 1)) for key in given_names}
    first = given_names[0]
    table[first] = table[first].reshape(1, 3) * np.ones((3, 1))
    whole = law.loss(**table)
    assert whole.shape == (3, 3)
    for row, column in np.ndindex(3, 3):
        one = {key: np.broadcast_to(values, (3, 3))[row, column] for key, values in table.items()}
        alone = law.loss(**one)
        assert isinstance(alone, float)
        assert alone == pytest.approx(whole[row, column], rel=1e-14)


@given(st.floats(1e-3, 1e3))
def test_domain_factor_says_how_far(times: float) -> None:
    law = laws.get("zhao2025")
    total = next(variable for variable in law.inputs if variable.name == "total_params")
    assert total.low is not None
    assert total.high is not None
    above = law.domain(total_params=total.high * (1 + times))["total_params"]
    assert (above.status, above.factor) == ("above", pytest.approx(1 + times))
    below = law.domain(total_params=total.low / (1 + times))["total_params"]
    assert (below.status, below.factor) == ("below", pytest.approx(1 + times))
    assert law.domain(total_params=np.array([total.low, total.high]))["total_params"].status.tolist() == ["inside"] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"total_param": 1e9}, "total_params"),
        ({"total_params": 0}, "total_params must be above 0"),
        ({"train_tokens": float("nan")}, "train_tokens"),
        ({"shared_ratio": 1.0}, "shared_ratio must be at least 0 and below 1"),
        ({"active_experts": "eight"}, "active_experts must be a number"),
        ({"active_params": [1e8, 2e8], "total_params": [1e9, 2e9, 3e9]}, "shapes"),
    ],
)
def test_wrong_variables_are_named(change: dict[str, object], said: str) -> None:
    wrong = {**POINT, **change}
    if "total_param" in change:
        del wrong["total_params"]
    with pytest.raises(UserError, match=said):
        laws.get("zhao2025").loss(**wrong)


def test_what_a_law_does_not_give_is_said() -> None:
    with pytest.raises(UserError, match="did you mean zhao2025"):
        laws.get("zhao")
    with pytest.raises(UserError, match="did you mean HASH"):
        laws.get("clark2022").loss(active_params=1e9, num_experts=8, router="HASHED")
    with pytest.raises(laws.InapplicableLaw, match="fit it to your runs"):
        laws.get("liew2026").loss(total_params=1e9, sparsity=8, num_experts=64)
    with pytest.raises(laws.InapplicableLaw, match="gives no loss"):
        laws.get("li2025").loss()
    with pytest.raises(laws.InapplicableLaw, match="gives no efficiency_leverage"):
        laws.get("hoffmann2022").efficiency_leverage()


@pytest.mark.parametrize("name", laws.names())
def test_every_question_can_be_put_to_every_law(name: str) -> None:
    """It answers, or says in one line that names the law what it gives instead."""
    law = laws.get(name)
    point = {variable.name: 0.5 if variable.below == 1 else 8.0 for variable in law.inputs}
    questions: dict[str, Callable[[], object]] = {
        "loss": lambda: law.loss(**point),
        "optimum": lambda: law.optimum(),
        "learning_rate": lambda: law.learning_rate(**point),
        "domain": lambda: law.domain(**point),
        "form": lambda: law.as_form(),
        "loss law": lambda: law.as_loss_law(),
        "fit": lambda: laws.fit_law(law, {"loss": [3.0]}),
    }
    refused = {}
    for question, ask in questions.items():
        try:
            ask()
        except UserError as error:
            refused[question] = str(error)
    assert not any("\n" in reason for reason in refused.values())
    assert all(name in reason for question, reason in refused.items() if question != "fit")
    assert len(repr(law)) < 400
    assert ("loss" in law.gives) == isinstance(law, laws.LossLaw)


def test_published_laws_start_without_fitting_libraries() -> None:
    code = (
        "import sys, moewright, moewright.laws as laws; laws.describe_all(); laws.get('zhao2025').optimum(); "
        "print([name for name in ('scipy', 'pandas', 'torch', 'plotly', 'matplotlib') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_descriptions_are_complete_json() -> None:
    import json

    for name in laws.names():
        described = laws.describe(name).to_dict()
        json.dumps(described, allow_nan=False)
        assert described["source"]
        assert all(variable["meaning"] for variable in described["variables"])


def test_marginal_curves_have_the_shapes_of_the_paper() -> None:
    law = laws.get("zhao2025")
    at = {**POINT, **law.optimum()}
    curves = laws.marginal_curves(law, at)
    assert set(curves) == set(POINT)
    for name in ("total_params", "train_tokens"):
        assert (np.diff(curves[name].loss) < 0).all()
    # Best G and S are inside their ranges; so is the best N_a at a size where N_a/N = 1 is not the best.
    best = law.optimum(total_params=30e9)
    wide = laws.marginal_curves(law, {**at, "total_params": 30e9}, {"active_params": (3e8, 3e10)}, points=2000)
    found = {name: curve.values[curve.loss.argmin()] for name, curve in wide.items()}
    assert found["active_params"] == pytest.approx(best["active_ratio"] * 30e9, rel=5e-3)
    assert found["active_experts"] == pytest.approx(best["active_experts"], abs=0.02)
    assert found["shared_ratio"] == pytest.approx(best["shared_ratio"], abs=5e-4)
    assert curves["train_tokens"].loss[0] == law.loss(**{**at, "train_tokens": 10e9})


def test_an_optimum_that_is_not_there_is_no_number() -> None:
    """A fit may end with any coefficient at 0 or below; the shipped small mixtures give zhao2025 m = 0."""
    tried = 0
    for name in laws.names():
        law = laws.get(name)
        if not isinstance(law, LossLaw) or law.optimum_rule is None:
            continue
        given = {v.name: 1e21 if v.below is None else 0.5 for v in law.optimum_rule.arguments}
        coefficients = dict(law.coefficients_with({}))
        for changed in coefficients:
            for value in (0.0, -coefficients[changed]):
                found = law.optimum_rule.answer({**coefficients, changed: value}, given, name)
                assert all(isinstance(answer, float) for answer in found.values())
                tried += 1
    assert tried > 40
