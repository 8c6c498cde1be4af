"""Settings that change the architecture: held widths, whole numbers, and models written out by hand."""

from fractions import Fraction
from math import gcd
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from moewright.architecture import Architecture, Layer
from moewright.architecture.counts import active_params, total_params
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, Router, SharedExpert
from moewright.architecture.mixers import Attention, LatentAttention
from moewright.errors import UserError
from moewright.runs.importers.slicing_models import VOCAB_SIZE, SlicingGroup, SlicingSize, backbone
from moewright.sweeps.settings.recipe_settings import MisfitError
from moewright.sweeps.settings.reshaping import DIALS, reshape

WIDTH = 48


def attention(heads: int = 3, kv_heads: int | None = None, head_dim: int = 16) -> Attention:
    return Attention(num_heads=heads, num_kv_heads=kv_heads or heads, head_dim=head_dim, qk_norm="full")


def model(
    experts: int, top_k: int, size: int, shared: SharedExpert | int = 0, layers: int = 2, kv_heads: int = 3, **more: Any
) -> Architecture:
    """Equal mixtures at width 48; `shared` is a width or the whole part."""
    beside = SharedExpert(expert_size=shared) if isinstance(shared, int) and shared else shared or None
    moe = MoE(groups=(ExpertGroup(count=experts, expert_size=size, top_k=top_k),), shared=beside, **more)
    layer = Layer(mixer=attention(3, kv_heads), feed_forward=moe, norms="post")
    return Architecture(vocab_size=100, hidden_size=WIDTH, layers=(layer,) * layers)


def mixture(architecture: Architecture) -> MoE:
    ((_, moe),) = architecture.moe_layers()
    return moe


def sizes(moe: MoE) -> tuple[int, int, int, int]:
    """Experts, top-k, expert size, shared width."""
    (group,) = moe.groups
    return group.count, group.top_k, group.expert_size, moe.shared.count * moe.shared.expert_size if moe.shared else 0


# What is stated and held must bring back a mixture that it was computed from.
DETERMINED = [
    ("expert_size", "active total"),
    ("top_k", "active total"),
    ("num_experts", "active total"),
    ("expert_share", "active total"),
    ("expert_size num_experts", "active"),
    ("top_k num_experts", "active"),
    ("expert_size total_ratio", "active"),
    ("expert_share total_ratio", "active"),
    ("top_k total_ratio", "active"),
    ("num_experts total_ratio", "active"),
    ("expert_share num_experts", "active"),
    ("expert_size top_k", "total"),
    ("num_experts top_k", "total"),
    ("expert_size total_ratio", "total"),
    ("expert_share total_ratio", "total"),
    ("top_k total_ratio", "total"),
    ("num_experts total_ratio", "total"),
    ("expert_size active_width", "total"),
    ("expert_share active_width_ratio", "total"),
    ("expert_size top_k num_experts", ""),
    ("expert_size top_k total_ratio", ""),
    ("expert_size num_experts active_width", ""),
    ("expert_size num_experts expert_share", ""),
    ("top_k total_ratio active_width", ""),
    ("expert_size num_experts total_ratio", ""),
    ("shared_share expert_size", "active total"),
    ("shared_share expert_share", "active total"),
    ("shared_share top_k total_ratio", "active"),
    ("shared_share expert_size top_k num_experts", ""),
]


@given(
    how=st.sampled_from(DETERMINED),
    top_k=st.integers(1, 8),
    more=st.integers(0, 40),
    size=st.integers(1, 60),
    shared=st.integers(0, 90),
    pick=st.randoms(use_true_random=False),
)
@settings(max_examples=600, deadline=None)
def test_sizes_come_back_exactly(
    how: tuple[str, str], top_k: int, more: int, size: int, shared: int, pick: Any
) -> None:
    """600 random mixtures, from another mixture of the same held widths and the settings that say the rest."""
    names, hold = how[0].split(), how[1].split()
    experts = top_k + more
    assume(shared or "shared_share" not in names)
    routed, pool = top_k * size, experts * size
    active, total = routed + shared, pool + shared
    says = {
        "num_experts": experts,
        "top_k": top_k,
        "expert_size": size,
        "expert_share": str(Fraction(size, active)),
        "total_ratio": str(Fraction(total, active)),
        "active_width": active,
        "active_width_ratio": str(Fraction(active, WIDTH)),
        "shared_share": str(Fraction(shared, active)),
    }
    kept = 0 if "shared_share" in names else shared
    base_routed = active - kept if "active" in hold else pick.randint(1, 99)
    base_pool = total - kept if "total" in hold else base_routed * pick.randint(1, 9)
    common = gcd(base_routed, base_pool)
    base_size = pick.choice([width for width in range(1, common + 1) if common % width == 0])
    assume(base_pool >= base_routed)
    base = model(base_pool // base_size, base_routed // base_size, base_size, kept)
    made = reshape(base, {name: says[name] for name in names}, hold)
    assert sizes(mixture(made)) == (experts, top_k, size, shared)
    assert made == model(experts, top_k, size, shared)


@given(
    ratio=st.fractions(1, 6, max_denominator=4),
    share=st.fractions("1/8", 1, max_denominator=8),
    shared=st.fractions(0, "3/4", max_denominator=4),
    factor=st.integers(1, 3),
    depth=st.integers(1, 4),
)
@settings(max_examples=300, deadline=None)
def test_widths_stay_on_every_rung(ratio: Fraction, share: Fraction, shared: Fraction, factor: int, depth: int) -> None:
    """300 cells: the stated shares hold exactly or the cell says why not; a rung before its experts is equal."""
    base = model(16, 4, 48, layers=3)
    experts = {"total_ratio": str(ratio), "expert_share": str(share), "shared_share": str(shared)}
    rung = {"hidden_size": WIDTH * factor, "num_layers": depth}
    active = 4 * 48 * factor
    try:
        made = reshape(base, {**experts, **rung}, ["active"])
    except MisfitError:
        count = (ratio - shared) / share
        numbers = [share * active, (1 - shared) / share, count, shared * active]
        assert any(number.denominator > 1 for number in numbers) or count < (1 - shared) / share
        return
    found: tuple[Any, ...] = sizes(mixture(made))
    count, top_k, size, shared_width = found
    assert (top_k * size + shared_width, count * size + shared_width) == (active, ratio * active)
    assert (size, shared_width) == (share * active, shared * active)
    assert made == reshape(reshape(base, rung), experts, ["active"])
    assert made.num_layers == depth
    assert [layer.mixer for layer in made.iter_layers()] == [attention(3 * factor)] * depth


# arXiv 2605.11689's sizes: width, layers, heads; its expert multipliers, ratios and shared widths.
SLICING = [(48, 3, 3), (96, 4, 4), (240, 5, 6), (336, 8, 7), (384, 9, 8), (432, 9, 9), (640, 10, 10), (1120, 14, 14)]


@pytest.mark.parametrize("size", SLICING, ids=str)
def test_slicing_and_dicing_grid(size: tuple[int, int, int]) -> None:
    """K = 1/m and E = T/m; with a shared expert K m + sh = 1. Counts are those of the importer's models."""
    width, layers, heads = size
    base = model(4, 1, 4 * WIDTH, layers=3).model_copy(update={"vocab_size": VOCAB_SIZE})
    rung = {"hidden_size": width, "num_layers": layers, "num_heads": heads}
    for slices in (1, 2, 4, 8, 16, 64):
        for ratio in (1, 2, 32):
            for shared in (0, 2, 8):  # sh = 1/2, 1/8
                if shared and slices % shared:
                    continue
                share = Fraction(1, shared) if shared else Fraction(0)
                told = {"expert_share": f"1/{slices}", "total_ratio": ratio, "shared_share": str(share)}
                made = reshape(base, {**rung, **told}, ["active"])
                top_k, experts = int((1 - share) * slices), int((ratio - share) * slices)
                assert sizes(mixture(made)) == (experts, top_k, 4 * width // slices, int(share * 4 * width))
                if experts == 1 and not shared:
                    continue  # the importer calls that dense
                group = SlicingGroup(multiplier=1 / slices, experts=experts, top_k=top_k)
                theirs = backbone(SlicingSize(width, layers, heads, 0), (group,), float(share))
                assert total_params(made) == total_params(theirs)
                assert active_params(made) == active_params(theirs)


def test_counts_of_a_rung_by_hand() -> None:
    """Every weight of width 96, 4 layers, 6 heads of which 2 for keys, 8 experts of 64, 2 active, shared 128."""
    base = model(4, 2, 64, 64, kv_heads=1, router=Router(normalize=True))
    made = reshape(
        base, {"hidden_size": 96, "num_layers": 4, "expert_size": 64, "num_experts": 8, "top_k": 2, "vocab_size": 50}
    )
    mixer = 96 * 96 + 2 * 96 * 32 + 96 * 96 + (96 + 32)  # q, k and v, out, the norms of q and k
    expert, router, norms = 3 * 96 * 64, 96 * 8, 2 * 96
    layer = mixer + 2 * expert + router + norms  # the shared one is as wide as two
    assert total_params(made) == 2 * 50 * 96 + 96 + 4 * (layer + 8 * expert)
    assert active_params(made) == 2 * 50 * 96 + 96 + 4 * (layer + 2 * expert)
    assert mixture(made).router == Router(normalize=True)


def test_dense_layers_patterns_and_latent_heads() -> None:
    """A dense first layer and a pattern of two keep their order; only widths that follow the ladder grow."""
    latent = LatentAttention(
        num_heads=3, q_lora_rank=None, kv_lora_rank=24, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=16
    )
    moe = MoE(groups=(ExpertGroup(count=4, expert_size=24, top_k=1),), parallel_dense=Dense(size=12))
    plain, mixed = Dense(size=100), Layer(mixer=latent, feed_forward=moe)
    layers = (Layer(mixer=latent, feed_forward=plain), *(mixed, Layer(mixer=attention(), feed_forward=moe)) * 2)
    base = Architecture(vocab_size=10, hidden_size=WIDTH, layers=layers)
    made = list(reshape(base, {"hidden_size": 96, "num_layers": 7, "head_dim": 32, "top_k": 2}).iter_layers())
    wider = latent.model_copy(
        update={"kv_lora_rank": 48, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 32}
    )
    assert [layer.mixer for layer in made] == [wider, *[wider, attention(3, 3, 32)] * 3]
    assert made[0].feed_forward == Dense(size=200)
    group = ExpertGroup(count=4, expert_size=48, top_k=2)
    assert {layer.feed_forward for layer in made[1:]} == {MoE(groups=(group,), parallel_dense=Dense(size=24))}
    with pytest.raises(MisfitError, match="num_layers = 6 is not the 1 layers outside"):
        reshape(base, {"num_layers": 6})


def test_mixes_share_the_widths() -> None:
    """Two groups of half and a quarter of the active width, as in arXiv 2605.11689; null keeps the base."""
    groups = [
        {"expert_share": "1/2", "active_share": "1/2", "total_share": "3/4"},
        {"expert_share": "1/4", "active_share": "1/2", "total_share": 0.25},
    ]
    base = model(8, 2, 96, router=Router(score="sigmoid"))
    moe = mixture(reshape(base, {"mix": groups}))
    expected = (ExpertGroup(count=6, expert_size=96, top_k=1), ExpertGroup(count=4, expert_size=48, top_k=2))
    assert moe == MoE(groups=expected, router=Router(score="sigmoid"), router_per_group=True, combine_groups="average")
    ratio = mixture(reshape(base, {"mix": groups, "total_ratio": 8, "router.score": "softmax"}, ["active"]))
    assert [group.count for group in ratio.groups] == [12, 8]
    assert ratio.router == Router()
    assert reshape(base, {"mix": None}) == base
    alone = [{"expert_share": 1, "active_share": 1, "total_share": 1}]
    again = mixture(reshape(reshape(base, {"mix": groups}), {"mix": alone}))
    assert (sizes(again), again.router_per_group) == ((4, 1, 192, 0), False)


def test_a_shared_expert_comes_and_goes() -> None:
    """Two shared experts stay two while their width stays; a width of 0 removes them."""
    double = SharedExpert(count=2, expert_size=24, combine="average")
    base = model(8, 2, 48, double)
    assert mixture(reshape(base, {"num_experts": 16}, ["active"])).shared == double
    assert mixture(reshape(base, {"shared_share": "1/3"}, ["active"])).shared == double
    changed = mixture(reshape(base, {"shared_share": "2/3"}, ["active"]))
    assert (changed.shared, changed.top_k) == (SharedExpert(expert_size=96, combine="average"), 1)
    removed = mixture(reshape(base, {"shared_share": 0}, ["active"]))
    assert (removed.shared, removed.top_k) == (None, 3)


GROUP = {"expert_share": "1/2", "active_share": 1, "total_share": 1}


@pytest.mark.parametrize(
    ("told", "hold", "said"),
    [
        (
            {"expert_size": 48, "top_k": 2},
            ["active"],
            "top_k, expert_size, hold: active: one too many; the active width follows",
        ),
        ({"total_ratio": 2}, ["active", "total"], "one too many"),
        ({"total_ratio": 2, "num_experts": 8, "top_k": 2}, [], "one too many"),
        ({"expert_share": "1/2", "top_k": 2}, ["active"], "one too many"),
        ({"expert_size": 4, "num_experts": 2}, ["total"], "one too many"),
        ({"expert_share": "1/2"}, [], "add hold: [active]"),
        ({"active_width": 2, "active_width_ratio": 2}, [], "leave out one"),
        ({"mix": [GROUP], "top_k": 2}, [], "mix and top_k"),
        ({"mix": [{**GROUP, "active_share": "1/2"}]}, [], "active_share add up to 0.5"),
        ({"mix": [{"expert_share": 1, "active_share": 1}]}, [], "mix[0]: total_share is missing"),
        ({"mix": [{**GROUP, "total_shar": 1}]}, [], "did you mean total_share?"),
        ({"mix": "1/2"}, [], "expected a list of groups"),
        ({"top_k": 2.5}, [], "top_k: expected an integer from 1 to 10^8, found 2.5"),
        ({"top_k": True}, [], "top_k"),
        ({"hidden_size": "wide"}, [], "hidden_size: expected an integer from 1 to 10^8, found 'wide'"),
        ({"total_ratio": "1/0"}, [], "total_ratio: '1/0'"),
        ({"total_ratio": "1e9999999999"}, [], "total_ratio"),
        ({"total_ratio": float("nan")}, [], "total_ratio"),
        ({"total_ratio": "1/2"}, [], "must be at least 1"),
        ({"expert_share": 2}, ["active"], "must be above 0 and at most 1"),
        ({"shared_share": 1}, ["active"], "below 1"),
        ({"active_width_ratio": 0}, [], "above 0"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(told: dict[str, Any], hold: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        reshape(model(8, 2, 96), told, hold)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "hold", "said"),
    [
        ({"expert_share": "1/5"}, ["active"], "expert_size = 38.4 is not whole"),
        (
            {"expert_size": 144},
            ["active"],
            "top_k = 1.33333 is not whole (expert_size 144, top_k 1.33333, num_experts 8",
        ),
        ({"top_k": 16}, [], "top_k = 16 exceeds num_experts = 8"),
        ({"num_experts": 10}, ["total"], "expert_size = 76.8 is not whole"),
        ({"shared_share": "1/5"}, ["active"], "top_k = 1.6 is not whole"),
        ({"hidden_size": 50}, [], "num_heads = 3 of the base x width 50 / 48 = 3.125"),
        ({"hidden_size": 64, "head_dim": 24}, [], "num_heads = hidden_size 64 / head_dim 24 = 2.66667"),
        ({"hidden_size": 56, "num_heads": 3}, [], "head_dim = 18.6667"),
        ({"num_layers": 100_000}, [], "num_layers = 100,000 exceeds"),
        ({"router.num_groups": 3, "router.top_groups": 1}, [], "router.num_groups (3) must divide"),
        ({"router.score": "softmix"}, [], "router.score: Input should be 'softmax'"),
        (
            {
                "mix": [
                    {"expert_share": "1/2", "active_share": "1/4", "total_share": 1},
                    {"expert_share": "1/4", "active_share": "3/4", "total_share": 0.0001},
                ]
            },
            [],
            "total_share add up",
        ),
        ({"active_width_ratio": "1/7"}, [], "active_width = 0.142857 x hidden_size 48"),
    ],
    ids=str,
)
def test_sizes_that_do_not_fit(told: dict[str, Any], hold: list[str], said: str) -> None:
    with pytest.raises((MisfitError, UserError)) as caught:
        reshape(model(8, 2, 96), told, hold)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_dial_changes_something() -> None:
    """None is passed over; what is no dial is."""
    base = model(8, 2, 96, 48, router=Router(score="sigmoid"))
    told: dict[str, Any] = {
        "hidden_size": 96, "num_layers": 3, "num_heads": 6, "head_dim": 8, "vocab_size": 7, "num_experts": 4,
        "top_k": 1, "expert_size": 48, "active_width": 432, "expert_share": "1/5",
        "total_ratio": 1, "active_width_ratio": 3, "shared_share": 0, "mix": [{**GROUP, "expert_share": "1/5"}],
        "latent_size": 24,
        "router.score": "softmax", "router.kind": "hash", "router.normalize": True, "router.scale": 2.0,
        "router.bias": True, "router.weigh": "input", "router.score_after_top_k": True,
        "router.selection_bias": "buffer", "router.num_groups": 2, "router.top_groups": 2,
        "router.input_scale": True, "router.expert_scale": True,
        "router.input_size": 32, "router.skip_choices": 1,
    }  # fmt: skip
    assert set(told) == set(DIALS)
    for name, value in told.items():
        beside = {"router.num_groups": 2} if name == "router.top_groups" else {}
        before = reshape(base, beside)
        assert reshape(base, {**beside, name: value}, ["active"] if name == "expert_share" else []) != before, name
    assert reshape(base, {"learning_rate": 1, "train_flops": 3}, ["flops"]) == base


def test_latent_experts_by_setting_and_by_ladder() -> None:
    base = model(16, 4, 48, 96)
    latent = reshape(base, {"latent_size": 24})
    assert mixture(latent).latent_size == 24
    assert mixture(latent).model_copy(update={"latent_size": None}) == mixture(base)
    assert reshape(latent, {"latent_size": None}) == base
    assert mixture(reshape(latent, {"hidden_size": 3 * WIDTH})).latent_size == 72
    odd = reshape(base, {"latent_size": 25})
    with pytest.raises(MisfitError, match="latent_size = 25 of the base"):
        reshape(odd, {"hidden_size": WIDTH * 3 // 2})
    with pytest.raises(UserError, match="latent_size"):
        reshape(base, {"latent_size": 2.5})
