"""Whole design runs: within budgets, buildable, counted like transformers' modules, written whole or not at all."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moewright
from moewright import Architecture, UserError
from moewright.architecture.cache import cache_bytes_per_sequence
from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.architecture.mixers import Attention, LatentAttention
from moewright.architecture.weight_formats import weights_bytes
from moewright.designs.budgets import make_budgets
from moewright.designs.candidates import build_design, columns, join
from moewright.designs.costs import costed_on, costs_of_candidates, design_costs
from moewright.designs.groups import groups_of
from moewright.designs.judges import DesignVariables, training_tokens
from moewright.designs.limits import limits, memory_bytes
from moewright.designs.preference import order_undecided
from moewright.designs.principles import best_num_experts, conflict_scale, sparsity_at
from moewright.designs.space import Space
from moewright.hardware import decode_tokens_per_second, memory_per_device, time_to_first_token
from moewright.hardware.speculation import NO_SPECULATION
from moewright.hf import from_config, to_config
from moewright.report.design_folder import write_designs
from moewright.report.design_tables import answer_lines, budget_lines
from tests.hf import oracle

BUDGETS = [
    {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"},
    {"memory": "24GiB", "active_params": "1.5B", "train_tokens": "1T", "weights_dtype": "fp8", "batch": 4},
    {"total_params": "7B", "train_tokens": "100B", "law": "zhao2025"},
    {"total_params": "600M", "active_params": "200M", "train_flops": "1e20", "vocab_size": 32_000},
    {"memory": "320GB", "devices": 2, "active_params": "9B", "train_tokens": "15T", "weights_dtype": "int4"},
    {"hardware": "H100", "devices": 2, "decode_tokens_per_second": 60, "batch": 16, "train_flops": "1e22"},
]


@pytest.mark.parametrize("asked", BUDGETS, ids=lambda asked: "-".join(map(str, asked.values())))
def test_designs_are_within_budgets_and_buildable(asked: dict[str, Any], tmp_path: Path) -> None:
    answer = moewright.design(**asked, top=4)
    assert 3 <= len(answer.designs) <= 4  # mixtures that are undecided
    scores = [design.score for design in answer.designs]
    assert scores == sorted(scores)
    assert scores[0] == 0
    for design in answer.designs:
        for name in ("memory_bytes", "total_params", "active_params"):
            limit = getattr(answer.budgets, name)
            assert limit is None or getattr(design, name) <= limit
        if answer.budgets.decode_tokens_per_second:
            assert design.costs.decode_tokens_per_second[0] >= answer.budgets.decode_tokens_per_second
        if answer.budgets.train_flops:
            assert design.train_flops == pytest.approx(answer.budgets.train_flops)
        assert all(regret >= 0 for regret in design.regret.values())
    for favourite in answer.favourites.values():
        assert min(favourite.regret.values()) >= 0
    for law, favourite in answer.favourites.items():
        assert favourite.regret[law] == pytest.approx(0, abs=1e-12)
    # More of a budget never hurts; a law without a variable for it gains nothing.
    assert all(change <= 1e-12 for prices in answer.shadow_prices.values() for change in prices.values())
    assert min(change for prices in answer.shadow_prices.values() for change in prices.values()) < -1e-4
    write_designs(answer, tmp_path / "out")
    for number, design in enumerate(answer.designs, start=1):
        folder = tmp_path / "out" / f"design-{number:02d}"
        assert Architecture.load(folder / "architecture.yaml") == design.architecture
        assert from_config(folder) == design.architecture
        config = json.loads((folder / "config.json").read_text())
        module = oracle.build(config.pop("model_type"), config)
        assert oracle.count(module) == design.total_params
        assert idle(module) == design.total_params - design.active_params
        assert moewright.inspect(folder).active_params == design.active_params
        assert f"# Design {number} of {len(answer.designs)}" in (folder / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "designs.json").read_text())["designs"][0]["total_params"] > 0
    for name in ("frontier.png", "mixtures.png", "laws.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "out" / "plots.html").read_text()
    assert page.count("<svg") == page.count("<figcaption>") == 3
    assert all(f">{law}<" in page for law in answer.laws)
    assert not re.search(r"<script|(src|href)=.(?!#|data:)", page)  # needs no other file


def idle(module) -> int:  # type: ignore[no-untyped-def]
    """Parameters of the experts that a token does not choose, read off the module's own tensors."""
    experts = [p for name, p in module.named_parameters() if ".experts." in name]
    return sum((p.shape[0] - module.config.num_experts_per_tok) * p[0].numel() for p in experts)


def test_dense_first_layers_and_all_targets_export() -> None:
    """Every kind of design that the space can hold is built by transformers with the same parameters."""
    for target, shared in (("any", 0), ("any", 2), ("dots1", 1), ("qwen3_moe", 0)):
        lists = {"widths": [512], "depths": [8], "experts": [8], "top_k": [2], "dense_first": [3]}
        space = Space.model_validate({**lists, "shared_experts": [shared], "target": target, "vocab_size": 1000})
        answer = moewright.design(total_params="60M", train_tokens="1B", space=space, top=1)
        (design,) = answer.designs
        config = to_config(design.architecture, design.family)
        assert oracle.count(oracle.build(config.pop("model_type"), config)) == design.total_params
        assert [layer.feed_forward.kind for layer in design.architecture.iter_layers()] == ["dense"] * 3 + ["moe"] * 5


def test_out_must_be_new(tmp_path: Path) -> None:
    answer = moewright.design(total_params="1B", train_tokens="20B", top=2)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("precious")
    with pytest.raises(UserError, match="not an empty folder"):
        write_designs(answer, tmp_path / "taken")
    with pytest.raises(UserError, match="not an empty folder"):
        write_designs(answer, tmp_path / "taken" / "file")
    assert (tmp_path / "taken" / "file").read_text() == "precious"
    (tmp_path / "empty").mkdir()
    write_designs(answer, tmp_path / "empty")
    names = sorted(path.name for path in (tmp_path / "empty").iterdir())
    assert names == ["design-01", "design-02", "designs.json", "frontier.png", "laws.png", "mixtures.png", "plots.html"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_columns_and_lines_count_like_architectures() -> None:
    """Random candidates at random expert sizes: columns, and lines, equal the counts of each built architecture."""
    r = random.Random(0)
    space = Space(vocab_size=5000)
    groups = groups_of(space).with_flops(4096)
    for chunk in list(groups.chunks())[::5]:
        rows = [r.randrange(len(chunk)) for _ in range(40)]
        some = chunk.take(rows).with_expert_size([64 * r.randrange(2, 40) for _ in rows])
        counted = columns(some, 5000)
        totals, actives, stored = total_params(counted), active_params(counted), weights_bytes(counted, "int4")
        for row in range(len(rows)):
            a = build_design(some.take([row]), space, 512)
            assert (total_params(a), active_params(a), weights_bytes(a, "int4")) == (
                totals[row],
                actives[row],
                stored[row],
            )
            lines = [np.asarray(some.count(name))[row] for name in ("total_params", "active_params", "training_flops")]
            assert lines == [totals[row], actives[row], training_flops_per_token(a, 4096)]


EVERY_PLAN: dict[str, Any] = {
    "window": [0, 128],
    "full_every": [6],
    "linear_attention": [False, True],
    "attention": ["grouped", "latent"],
    "query_rank": [0, 256],
    "latent_experts": [0, 0.5],
    "tie_embeddings": [False, True],
}


def test_layers_of_every_plan_are_counted_as_they_are_built() -> None:
    """Rows of all plans mixed: columns equal built models in size, cache, memory, FLOPs and speeds."""
    r = random.Random(1)
    space = Space.model_validate({**EVERY_PLAN, "widths": [768, 2048, 2880], "vocab_size": 5000})
    assert len(space.layer_plans) == 36
    chunks = list(groups_of(space).chunks())
    some = join([chunk.take([r.randrange(len(chunk))]) for chunk in chunks])
    assert set(some.layer_plan.tolist()) == set(range(36))
    counted = columns(some, 5000)
    load: dict[str, Any] = {"context": 8192, "batch": 4, "devices": 2}
    rate, first = decode_tokens_per_second(counted, "H100", **load), time_to_first_token(counted, "H100", **load)
    held = memory_per_device(counted, "H100", **load)
    for row in range(len(some)):
        a = build_design(some.take([row]), space, 512)
        assert total_params(a) == total_params(counted)[row] == np.asarray(some.count("total_params"))[row]
        assert active_params(a) == active_params(counted)[row] == np.asarray(some.count("active_params"))[row]
        assert weights_bytes(a, "int4") == weights_bytes(counted, "int4")[row]
        assert cache_bytes_per_sequence(a, 8192) == cache_bytes_per_sequence(counted, 8192)[row]
        for alone, column in (
            (training_flops_per_token(a, 4096), training_flops_per_token(counted, 4096)),
            (decode_tokens_per_second(a, "H100", **load)[0], rate[0]),
            (time_to_first_token(a, "H100", **load)[1], first[1]),
            (memory_per_device(a, "H100", **load).needed, held.needed),
        ):
            assert alone == pytest.approx(column[row], rel=1e-9)
        plan = some.plan_of(row)
        if plan.has_pattern:
            full = sum(
                isinstance(layer.mixer, Attention | LatentAttention) and layer.mixer.window is None
                for layer in a.iter_layers()
            )
            assert full == -(-a.num_layers // 6)


def test_how_a_design_is_served_is_costed_as_it_is_built() -> None:
    """Rows of plans in formats of their own, and with prediction blocks: columns equal built models, one by one."""
    served = {"weights_dtype": ["asked", "int4"], "kv_dtype": ["asked", "fp8"], "prediction_blocks": [0, 2]}
    space = Space.model_validate({**FEW, **served, "attention": ["grouped", "latent"], "widths": [512, 1024]})
    budgets = make_budgets(
        {"hardware": "H100", "devices": 2, "train_device_hours": 100, "batch": 4, "serve_tokens": "1T", "context": 4096}
    )
    some = join([chunk.take([3, len(chunk) - 1]) for chunk in groups_of(space).chunks()])
    assert len(np.unique(some.layer_plan)) == len(space.layer_plans) == 16
    on, bounds = costed_on(budgets), limits(budgets, space.layer_plans)
    tokens = DesignVariables(some, budgets, space).train_tokens
    costs = costs_of_candidates(some, tokens, budgets, on, space.vocab_size)
    for row in range(len(some)):
        a, how = build_design(some.take([row]), space, 4096), some.plan_of(row).served(budgets.served)
        assert a.mtp_layers == some.plan_of(row).blocks
        assert float(training_tokens(a, budgets)) == pytest.approx(tokens[row], rel=1e-12)
        alone = design_costs(a, tokens[row], budgets, on, how)
        for name in ("train_device_hours", "decode_tokens_per_second", "time_to_first_token", "serve_device_hours"):
            assert getattr(alone, name) == pytest.approx(getattr(costs.take(row), name), rel=1e-9)
        assert alone.kv_bytes_per_token == costs.take(row).kv_bytes_per_token
        for limit in bounds:
            taken = limit.taken(some, budgets, space.vocab_size)[row]
            assert float(limit.cost(a, how)) == pytest.approx(taken, rel=1e-12)
        if a.mtp_layers:  # three norms, a projection and one more layer each, in the same formats
            plain = a.model_copy(update={"mtp_layers": 0, "mtp_block": None})
            less = design_costs(plain, tokens[row], budgets, on, replace(how, speculation=NO_SPECULATION))
            assert alone.train_device_hours[0] > less.train_device_hours[0]
            more = memory_bytes(a, budgets, how) - memory_bytes(plain, budgets, how)
            assert more > a.mtp_layers * (cache_bytes_per_sequence(plain, 4096, how.kv_dtype) * 4 / a.num_layers)


def test_what_no_law_sees_costs_what_is_believed() -> None:
    """A belief about an axis moves every law's loss of the designs that have it, and nothing else."""
    few = {**FEW, "widths": [512, 768], "tie_embeddings": [False, True]}
    asked = {"total_params": "100M", "train_tokens": "20B", "top": 20}

    def by_plan_and_sizes(belief: dict[str, float]) -> dict[tuple[int, ...], float]:
        answer = moewright.design(**asked, space=Space.model_validate({**few, "unseen_nats": belief}))  # type: ignore[call-overload]
        return {tuple(d.sizes.values()): d.predicted_loss["zhao2025"] for d in answer.designs}

    plain, tied = by_plan_and_sizes({}), by_plan_and_sizes({"tied embeddings": 0.5})
    assert all(plan == 0 for *_, plan in tied)
    assert any(plan == 1 for *_, plan in plain)
    same = plain.keys() & tied.keys()
    assert same
    assert all(plain[sizes] == pytest.approx(tied[sizes]) for sizes in same)
    tying = {**few, "tie_embeddings": [True]}
    believed, nothing = (Space.model_validate({**tying, "unseen_nats": {"tied embeddings": n}}) for n in (0.25, 0.0))
    forced, free = (moewright.design(**asked, space=space) for space in (believed, nothing))  # type: ignore[call-overload]
    assert [d.sizes for d in forced.designs] == [d.sizes for d in free.designs]
    rise = forced.designs[0].predicted_loss["zhao2025"] - free.designs[0].predicted_loss["zhao2025"]
    assert rise == pytest.approx(0.25)
    assert "+0.25 nats are added" in forced.warnings[0]
    with pytest.raises(ValueError, match="unseen_nats"):
        Space(unseen_nats={"int3 weights": 0.1})


FEW = {"widths": [512], "depths": [8], "experts": [8], "top_k": [2], "dense_first": [1], "vocab_size": 5000}


@pytest.mark.parametrize(
    ("layers", "shared", "family", "words"),
    [
        ({"window": 128, "full_every": 6}, 1, "dots1", "windows of 128, full attention every 6"),
        (
            {"attention": "latent", "latent_rank": 64, "query_rank": 96},
            1,
            "deepseek_v3",
            "latent attention of rank 64, queries of 96",
        ),
        ({"tie_embeddings": True}, 1, "dots1", "tied embeddings"),
        ({"tie_embeddings": True}, 0, "qwen3_moe", "tied embeddings"),
        ({"weights_dtype": "int4"}, 0, "qwen3_moe", "weights in int4"),
        ({"kv_dtype": "fp8"}, 1, "dots1", "cache in fp8"),
    ],
)
def test_what_layers_have_is_written_and_said(layers: dict[str, Any], shared: int, family: str, words: str) -> None:
    """transformers builds what is written, and an answer says what no law sees."""
    space = Space.model_validate({**FEW, **layers, "shared_experts": [shared]})
    answer = moewright.design(total_params="60M", train_tokens="1B", top=1, space=space)
    design = answer.designs[0]
    assert design.family == family
    config = to_config(design.architecture, family)
    assert oracle.count(oracle.build(config.pop("model_type"), config)) == design.total_params
    (unseen,) = design.layer_plan.unseen()
    assert f"{unseen}: in the costs, and no law sees" in answer.warnings[0]
    assert ("", words) in answer_lines(answer)


def test_layers_that_no_family_expresses_are_written_as_specs(tmp_path: Path) -> None:
    cases: dict[str, dict[str, Any]] = {"latent": {"latent_experts": 0.5}, "linear": {"linear_attention": True}}
    for name, layers in cases.items():
        space = Space.model_validate({**FEW, **layers})
        answer = moewright.design(total_params="60M", train_tokens="1B", top=1, space=space)
        assert answer.designs[0].family is None
        write_designs(answer, tmp_path / name)
        assert not (tmp_path / name / "design-01" / "config.json").exists()
        again = Architecture.load(tmp_path / name / "design-01" / "architecture.yaml")
        assert total_params(again) == answer.designs[0].total_params
    with pytest.raises(ValueError, match="qwen3_moe has no windows"):
        Space(window=(128,), target="qwen3_moe")
    with pytest.raises(ValueError, match="dots1 has neither latent nor linear"):
        Space(attention=("latent",), target="dots1")
    with pytest.raises(ValueError, match="exclude each other"):
        Space(window=(128,), linear_attention=(True,))
    many = tuple(range(1, 64))
    shares = tuple(number / 64 for number in many)
    with pytest.raises(ValueError, match="992,686,590 plans of layers are more than the 64"):  # counted, not listed
        Space(
            window=many,
            full_every=many,
            attention=("grouped", "latent"),
            latent_rank=many,
            query_rank=many,
            latent_experts=shares,
        )


def test_cost_chooses_among_plans_of_layers_and_says_by_how_much() -> None:
    """The nats behind are those by which the first design's loss would have to rise: tried by a penalty on its plan."""
    space = Space.model_validate(
        {**FEW, "widths": [512, 768], "tie_embeddings": [False, True], "attention": ["grouped", "latent"]}
    )
    answer = moewright.design(total_params="100M", train_tokens="20B", space=space, top=20)
    plans = answer.to_dict()["layer_plans"]
    first = answer.designs[0].sizes["layer_plan"]
    assert plans[first]["behind_nats"] == 0
    choice, undecided = answer.choice, answer.choice.undecided
    (behind, other) = min((p["behind_nats"], p["number"]) for p in plans if p["number"] != first and p["behind_nats"])
    for factor, chosen in ((0.99, first), (1.01, other)):
        rise = np.where(undecided.designs.layer_plan == first, factor * behind, 0.0)
        penalised = replace(undecided, losses=undecided.losses + rise)
        again = order_undecided(answer.problem, penalised, choice.hearing, choice.prefer, choice.worth, choice.on)
        assert again.designs.sizes(0)["layer_plan"] == chosen


def test_sparsity_against_experts_at_fixed_granularity() -> None:
    """OLMoE's budgets (arXiv 2409.02060: d/d_e = 2) in the algebra of arXiv 2601.08215."""
    assert conflict_scale(6.25, 2) == pytest.approx(14)
    found = [sparsity_at(experts, 6.25, 2) for experts in (32, 64, 128, 256)]
    assert found == pytest.approx([11.11, 8.00, 7.02, 6.61], abs=0.005)
    assert sparsity_at(20, 6.25, 2) is None  # below r + b = 20.25 not one expert could be active
    assert sparsity_at(20.25, 6.25, 2) == pytest.approx(20.25)
    # The best E of the fitted form lies where its loss has no slope.
    best = best_num_experts(6.25, 2, 0.1, 0.02)
    tried = (0.99 * best, best, 1.01 * best)
    losses = [0.1 * np.log(sparsity_at(e, 6.25, 2) or np.nan) + 0.02 * np.log(e) for e in tried]
    assert losses[1] < min(losses[0], losses[2])


def test_fixed_tokens_and_fixed_flops_disagree_on_sparsity() -> None:
    """At fixed memory, FLOPs held fixed want fewer active parameters than tokens held fixed, by the joint law."""
    answer = moewright.design(total_params="30B", train_tokens="2T", law="zhao2025", top=1)
    tokens, flops = answer.modes
    assert (tokens.held, flops.held) == ("tokens", "FLOPs")
    assert flops.active_params[0] < 0.8 * tokens.active_params[0]
    assert moewright.design(total_params="7B", active_params="1B", train_tokens="1T", top=1).modes == ()


def test_a_principle_is_followed_by_its_own_choice() -> None:
    answer = moewright.design(total_params="7B", active_params="1.3B", train_tokens="5T", top=3)
    chosen = answer.principles
    for name, found in chosen.choices.items():
        assert name in chosen.follows(found.design, answer.space.vocab_size)[0]
        assert min(found.regret.values()) >= -1e-9
    liew = chosen.choices["liew"].design
    assert total_params(build_design(liew, answer.space, 512)) >= 0.99 * chosen.most_total
    assert chosen.most_total <= 7e9


def test_a_published_model_against_the_laws() -> None:
    answer = moewright.design(like="examples/configs/olmoe-1b-7b.json", train_tokens="5.1T", top=2)
    published = answer.baseline.as_built
    assert answer.baseline.named
    assert answer.budgets.total_params == published.total_params == 6_919_161_856
    assert answer.space.vocab_size == 50_304
    assert published.sizes["num_experts"] == 64
    faster = moewright.design(
        like="examples/configs/olmoe-1b-7b.json",
        train_tokens="5.1T",
        hardware="H100",
        decode_tokens_per_second=250,
        top=1,
    )
    assert faster.designs[0].costs.decode_tokens_per_second[0] >= 250


def test_the_line_of_budgets_has_all_of_them() -> None:
    """Every option that bounds, trains, serves or prices is in the words that stand above an answer."""
    asked = {
        "hardware": "H200",
        "active_params": "3B",
        "decode_tokens_per_second": 50,
        "time_to_first_token": 9,
        "train_device_hours": "184320",
        "train_hardware": "B200",
        "train_devices": 256,
        "price": {"H200": 2.5, "B200": 4.75},
        "serve_tokens": "5T",
    }
    said = " ".join(budget_lines(make_budgets(asked)))
    own = ("H200", "3.00B active", "50 tokens/s", "in 9 s", "184K device-hours", "256 x B200", "5.00T tokens served")
    for words in (*own, "H200 at 2.5 an hour", "B200 at 4.75 an hour"):
        assert words in said, words
