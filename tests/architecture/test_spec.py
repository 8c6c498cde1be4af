"""The specification: compact layers, exact round trips, refusals that name the field."""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moewright import Architecture, UserError
from moewright.architecture.cache import cache_bytes_per_sequence
from moewright.architecture.counts import active_params, matmul_flops_per_token, params, total_params
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, NoFeedForward, SharedExpert
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Layer, RepeatedPattern, find_repeats
from moewright.architecture.weight_formats import WEIGHT_FORMATS, weights_bytes
from moewright.experiment.support import check_trainable
from moewright.hf.config import read_config
from tests.hf import oracle
from tests.hf.samplers import SAMPLERS


def expand(runs: Iterable[int | RepeatedPattern]) -> Iterator[int]:
    """The plain list behind runs, as positions."""
    for run in runs:
        if isinstance(run, RepeatedPattern):
            for _ in range(run.times):
                yield from expand(run.pattern)
        else:
            yield run


@given(st.lists(st.integers(0, 3), max_size=40))
def test_runs_stand_for_the_same_list(keys: list[int]) -> None:
    assert [keys[position] for position in expand(find_repeats(keys))] == keys


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(2, 20))
def test_a_repeated_pattern_is_found(pattern: list[int], times: int) -> None:
    def written(runs) -> int:  # type: ignore[no-untyped-def]
        return sum(written(run.pattern) if isinstance(run, RepeatedPattern) else 1 for run in runs)

    assert written(find_repeats(pattern * times)) <= len(pattern)


@pytest.mark.parametrize("ending", ["yaml", "json"])
def test_files_give_the_same_architecture_back(tmp_path: Path, ending: str) -> None:
    r = random.Random(ending)
    for family in SAMPLERS:
        module = oracle.build(family, SAMPLERS[family](r))
        architecture = read_config(oracle.saved_config(module)).architecture
        architecture.save(tmp_path / f"spec.{ending}")
        assert Architecture.load(tmp_path / f"spec.{ending}") == architecture


ATTENTION = {"kind": "attention", "num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
EXPERTS = {"kind": "moe", "groups": [{"count": 8, "expert_size": 16, "top_k": 2}]}


def spec(**changes: object) -> dict[str, object]:
    """A small valid specification with changes at the top."""
    layer = {"mixer": ATTENTION, "feed_forward": EXPERTS}
    return {"format": "moewright-architecture/1", "vocab_size": 50, "hidden_size": 32, "layers": [layer]} | changes


def layer_with(**changes: object) -> list[object]:
    return [{"mixer": ATTENTION, "feed_forward": EXPERTS} | changes]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (spec(hidden_size=0), "hidden_size"),
        (spec(hidden_size=-5), "hidden_size"),
        (spec(hidden_size=True), "hidden_size"),
        (spec(hidden_size=32.0), "hidden_size"),
        (spec(hidden_size=10**30), "hidden_size"),
        (spec(vocab_size=None), "vocab_size"),
        (spec(widht=3), "widht"),
        (spec(format="moewright-architecture/9"), "format"),
        (spec(layers=[]), "layers"),
        (spec(layers=3), "layers"),
        (spec(layers=[{"repeat": 0, "layers": layer_with()}]), "layers[0].repeat"),
        (spec(layers=[{"repeat": 900, "layers": [{"repeat": 900, "layers": layer_with()}]}]), "layers"),
        (spec(layers=layer_with(mixer=ATTENTION | {"num_kv_heads": 3})), "num_kv_heads"),
        (spec(layers=layer_with(mixer=ATTENTION | {"kind": "atention"})), "layers[0].mixer"),
        (spec(layers=layer_with(mixer=ATTENTION | {"head_dim": -1})), "layers[0].mixer.head_dim"),
        (
            spec(
                layers=layer_with(feed_forward={"kind": "moe", "groups": [{"count": 4, "expert_size": 8, "top_k": 5}]})
            ),
            "top_k",
        ),
        (spec(layers=layer_with(feed_forward={"kind": "moe", "groups": []})), "groups"),
        (spec(layers=layer_with(feed_forward={"kind": "dense"})), "layers[0].feed_forward.size"),
        (spec(layers=layer_with(feed_forward=EXPERTS | {"router": {"scale": float("nan")}})), "router.scale"),
        (spec(layers=layer_with(feed_forward=EXPERTS | {"router": {"num_groups": 3}})), "num_groups"),
        (spec(layers=layer_with(feed_forward=EXPERTS | {"latent_norm": True})), "latent_size"),
        (spec(layers=layer_with(feed_forward=EXPERTS | {"latent_size": 0})), "latent_size"),
        (spec(layers=layer_with(feed_forward=EXPERTS | {"latent_size": 4, "identity_experts": 1})), "identity_experts"),
        (spec(layers=layer_with(mixer={"kind": "none"}, feed_forward={"kind": "none"})), "feed_forward"),
        (spec(mtp_block=layer_with()), "mtp_block"),
        (spec(mtp_layers=1, mtp_block=[]), "mtp_block"),
        (spec(hyper_connections=2, attention_residuals=3), "attention_residuals"),
    ],
)
def test_impossible_specs_are_refused_by_field(values: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=r".*") as caught:
        Architecture.from_dict(values)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unlike_layers_and_unlike_experts() -> None:
    mixer = Attention(num_heads=2, num_kv_heads=1, head_dim=4)
    small, large = ExpertGroup(count=6, expert_size=5, top_k=2), ExpertGroup(count=3, expert_size=11, top_k=1)
    mixed = MoE(groups=(small, large), router_per_group=True, shared=SharedExpert(expert_size=7, combine="average"))
    a = Architecture(
        vocab_size=10,
        hidden_size=8,
        layers=(Layer(mixer=mixer, feed_forward=Dense(size=9)), Layer(mixer=mixer, feed_forward=mixed)),
    )
    # Counted by hand: three matrices of 8 x size for every expert, one router row for every expert.
    assert params(a)["routed_experts"] == 3 * 8 * (6 * 5 + 3 * 11)
    assert params(a)["router"] == 8 * (6 + 3)
    assert params(a)["shared_experts"] == 3 * 8 * 7
    assert params(a)["dense_ffn"] == 3 * 8 * 9
    assert params(a)["attention"] == 2 * (8 * 8 * 2 + 4 * 8 * 2)
    assert total_params(a) - active_params(a) == 3 * 8 * (4 * 5 + 2 * 11)
    assert Architecture.from_dict(json.loads(json.dumps(a.to_dict()))) == a


def test_written_repeats_do_not_matter() -> None:
    one = layer_with()[0]
    other = {"mixer": ATTENTION, "feed_forward": {"kind": "dense", "size": 64}}
    plain = Architecture.from_dict(spec(layers=[other, one, other, one, one]))
    nested = Architecture.from_dict(
        spec(layers=[{"repeat": 2, "layers": [other, one]}, {"repeat": 1, "layers": [one]}])
    )
    assert plain == nested
    assert plain.num_layers == 5
    assert [layer.feed_forward.kind for layer in plain.iter_layers()] == ["dense", "moe", "dense", "moe", "moe"]


def test_a_prediction_block_like_the_last_layer_is_written_as_none() -> None:
    made = Architecture.from_dict(spec())
    last = list(made.iter_layers())[-1]
    assert Architecture.from_dict(spec(mtp_layers=1, mtp_block=[last.model_dump()])).mtp_block is None
    unlike = last.model_copy(update={"feed_forward": NoFeedForward()})
    assert Architecture.from_dict(spec(mtp_layers=1, mtp_block=[unlike.model_dump()])).mtp_block == (unlike,)


def test_an_earlier_layer_s_weights_are_held_once_and_work_each_time() -> None:
    attention = Attention(num_heads=4, num_kv_heads=2, head_dim=8)
    first = Layer(mixer=attention, feed_forward=Dense(size=64))
    again = first.model_copy(update={"shares_weights": True})
    experts = MoE(groups=(ExpertGroup(count=8, expert_size=16, top_k=2),))
    routed = Layer(mixer=attention, feed_forward=experts)
    choosing = routed.model_copy(update={"feed_forward": experts.model_copy(update={"experts": "earlier_layer"})})

    def model(*layers: Layer) -> Architecture:
        return Architecture(vocab_size=100, hidden_size=32, layers=layers)

    once, twice, apart = model(first), model(first, again), model(first, first)
    assert total_params(twice) == total_params(once) == active_params(twice)
    assert matmul_flops_per_token(twice) == matmul_flops_per_token(apart)
    assert cache_bytes_per_sequence(twice, 10) == cache_bytes_per_sequence(apart, 10)
    for format_name in WEIGHT_FORMATS:
        assert weights_bytes(twice, format_name) == weights_bytes(once, format_name)
    # A router of its own may choose other experts: they are active again, and none is held again.
    shared, own = model(routed, choosing), model(routed, routed)
    assert total_params(own) - total_params(shared) == 8 * 3 * 32 * 16
    assert active_params(shared) == active_params(own)
    for name, said in (("shares_weights = true", twice), ("feed_forward.experts = earlier_layer", shared)):
        with pytest.raises(UserError, match=name):
            check_trainable(said)
