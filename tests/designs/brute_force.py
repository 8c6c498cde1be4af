"""The answer by trying everything: a plain loop over specs, counted one by one, without any code of the search."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import brentq

from moewright import Architecture, laws
from moewright.architecture.cache import cache_bytes_per_sequence
from moewright.architecture.counts import (
    active,
    active_params,
    active_params_non_embedding,
    total_params,
    total_params_non_embedding,
    training_flops_per_token,
)
from moewright.architecture.feed_forwards import Dense, ExpertGroup, MoE, SharedExpert
from moewright.architecture.mixers import Attention, GatedDeltaNet, LatentAttention, Window
from moewright.architecture.spec import Layer, Repeat
from moewright.architecture.weight_formats import weights_bytes

VOCABULARY = 1000
CONTEXT = 512
LAWS = ("zhao2025", "ludziejewski2025", "clark2022", "krajewski2024", "abnar2025", "ling2025")

Sizes = tuple[Any, ...]
"""Width, depth, dense first, experts, top-k, shared, expert size; then window, full every, linear or not, rank of
latent attention, rank of its queries, latent experts in 64ths of the width, tied or not; format of the weights and of
the cache ("asked": the question's), prediction blocks."""


def every_design(space: dict[str, Any]) -> Iterator[Sizes]:
    """Nested loops over a space given as lists and bounds, before the rules that count parameters."""
    plans = list(every_plan(space))
    for width in space["widths"]:
        for depth in space["depths"]:
            if not space["least_width_over_depth"] <= width / depth <= space["most_width_over_depth"]:
                continue
            for first in space["dense_first"]:
                for experts in space["experts"]:
                    for top_k in space["top_k"]:
                        for shared in space["shared_experts"]:
                            ratio = top_k / experts
                            if not space["least_active_share"] <= ratio <= space["most_active_share"]:
                                continue
                            if shared <= top_k and first < depth:
                                for size in range(space["least_expert_size"], 4 * width + 1, 64):
                                    least = space["least_expert_size_over_width"]
                                    if least <= size / width <= space["most_expert_size_over_width"]:
                                        for plan in plans:
                                            yield width, depth, first, experts, top_k, shared, size, *plan


def every_plan(space: dict[str, Any]) -> Iterator[Sizes]:
    """What layers may have beyond their sizes, each once."""
    seen = set()
    for window in space.get("window", [0]):
        for linear in space.get("linear_attention", [False]):
            for every in space.get("full_every", [4]):
                for kind in space.get("attention", ["grouped"]):
                    for rank in space.get("latent_rank", [512]):
                        for queries in space.get("query_rank", [0]):
                            for latent in space.get("latent_experts", [0]):
                                for tied in space.get("tie_embeddings", [False]):
                                    if window and linear:
                                        continue
                                    mla = kind == "latent"
                                    plan = (window, every if window or linear else 1, int(linear), rank if mla else 0,
                                            queries if mla else 0, round(64 * latent), int(tied))  # fmt: skip
                                    if plan in seen:
                                        continue
                                    seen.add(plan)
                                    for weights in space.get("weights_dtype", ["asked"]):
                                        for held in space.get("kv_dtype", ["asked"]):
                                            for blocks in space.get("prediction_blocks", [0]):
                                                yield *plan, weights, held, blocks


def keeps_the_rules(sizes: Sizes, space: dict[str, Any]) -> bool:
    """The rules that count parameters."""
    share, sparse = shares(sizes)
    if sizes[1] < space["least_layers_at_1b_active"] * (active_params(spec(sizes)) / 1e9) ** 0.25:
        return False
    within = space["least_experts_share"] <= share <= space["most_experts_share"]
    return bool(within and sparse >= space["least_active_over_total"])


def shares(sizes: Sizes) -> tuple[float, float]:
    """The same."""
    return shares_of(sizes[:14])


@cache
def shares_of(sizes: Sizes) -> tuple[float, float]:
    """Of the layers' active parameters in experts, and of all parameters that are active."""
    used = active(spec(sizes))
    experts = used["routed_experts"] + used["shared_experts"]
    layers = sum(used.values()) - used["embedding"] - used["lm_head"]
    return experts / layers, sum(used.values()) / total_params(spec(sizes))


def spec(sizes: Sizes) -> Architecture:
    """The model, however it is served."""
    return built(sizes[:14])


@cache
def built(sizes: Sizes) -> Architecture:
    """The model, written down by hand."""
    width, depth, first, experts, top_k, shared, size, window, every, linear, rank, queries, latent, tied = sizes
    head_dim = 64 if width < 1024 else 128
    heads = 8
    while heads * head_dim < width:
        heads += 8
    kv_heads = 8 if heads >= 32 else 4 if heads >= 16 else 2
    near_by = Window(size=window) if window else None
    attention: Any = Attention(num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, qk_norm="per_head")
    other: Any = Attention(
        num_heads=heads, num_kv_heads=kv_heads, head_dim=head_dim, qk_norm="per_head", window=near_by
    )
    if rank:
        latents: dict[str, Any] = {
            "num_heads": heads,
            "kv_lora_rank": rank,
            "q_lora_rank": queries or None,
            "qk_nope_head_dim": head_dim,
            "qk_rope_head_dim": head_dim // 2,
            "v_head_dim": head_dim,
        }
        attention, other = LatentAttention(**latents), LatentAttention(**latents, window=near_by)
    if linear:
        other = GatedDeltaNet(
            num_key_heads=width // 128,
            key_head_dim=128,
            num_value_heads=width // 64,
            value_head_dim=128,
            conv_kernel=4,
        )
    moe = MoE(
        groups=(ExpertGroup(count=experts, expert_size=size, top_k=top_k),),
        shared=SharedExpert(count=shared, expert_size=size) if shared else None,
        latent_size=width * latent // 64 if latent else None,
    )
    dense = Dense(size=(top_k + shared) * size)
    if not window and not linear:
        rest = Repeat(repeat=depth - first, layers=(Layer(mixer=attention, feed_forward=moe),))
        before = (Repeat(repeat=first, layers=(Layer(mixer=attention, feed_forward=dense),)),) if first else ()
        return Architecture(vocab_size=VOCABULARY, hidden_size=width, layers=(*before, rest), tie_embeddings=bool(tied))
    layers = []
    for number in range(1, depth + 1):
        sees_all = number % every == 0 or number == depth
        layers.append(Layer(mixer=attention if sees_all else other, feed_forward=dense if number <= first else moe))
    return Architecture(vocab_size=VOCABULARY, hidden_size=width, layers=tuple(layers), tie_embeddings=bool(tied))


@cache
def counted(sizes: Sizes, dtype: str) -> dict[str, float]:
    """What a model takes."""
    a = spec(sizes)
    weights, held, blocks = sizes[14:]
    stored: Any = dtype if weights == "asked" else weights
    cached: Any = "bf16" if held == "asked" else held
    memory = weights_bytes(a, stored) + 2 * cache_bytes_per_sequence(a, CONTEXT, cached)
    flops = training_flops_per_token(a, 4096)
    if (
        blocks
    ):  # each is a last layer more, three norms and a projection of two states to one, whose head is the model's
        last = list(a.iter_layers())[-1]
        longer, alone = (a.model_copy(update={"layers": layers}) for layers in ((*a.layers, last), (last,)))
        memory += blocks * (weights_bytes(longer, stored) - weights_bytes(a, stored))
        memory += (
            blocks
            * 2
            * (cache_bytes_per_sequence(longer, CONTEXT, cached) - cache_bytes_per_sequence(a, CONTEXT, cached))
        )
        d = a.hidden_size
        rest = 4 if stored == "fp32" else 2
        memory += blocks * rest * (2 * d * d + 3 * d)
        flops += blocks * (training_flops_per_token(alone, 4096) + 3 * 2 * 2 * d * d)
    return {
        "total_params": total_params(a),
        "active_params": active_params(a),
        "memory": memory,
        "flops": flops,
    }


@cache
def at_one_token(sizes: Sizes, law: str) -> dict[str, float]:
    """The law's variables of a model trained on one token, however it is served."""
    return laws.get(law).variables(spec(sizes), train_tokens=1.0)


def losses_of(tokens: dict[Sizes, float], law: str, reading: int | None = None) -> Any:
    """The losses by the law, its expansion read as multiplying the experts' channels (0) or all that is active (1)."""
    rows = [at_one_token(sizes[:14], law) for sizes in tokens]
    at = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in ("train_tokens", "train_flops"):
        if name in at:
            at[name] = at[name] * np.array(list(tokens.values()))
    if reading is not None:
        expansion = laws.get(law).judges.expansion
        assert expansion is not None
        stored = np.array([(sizes[3] + sizes[5]) / (sizes[4] + sizes[5]) for sizes in tokens])
        held = [total_params_non_embedding(spec(s)) / active_params_non_embedding(spec(s)) for s in tokens]
        at[expansion.name] = np.asarray(expansion.readings(stored, np.array(held))[reading])
    narrow = np.array([0.025 if sizes[14] in ("int4", "nvfp4") else 0.0 for sizes in tokens])
    if law == "ling2025":
        return np.asarray(laws.loss_through(laws.get("epoch2024"), **at)) + narrow
    return np.asarray(laws.get(law).bare_loss(at)) + narrow


MOVED_SIZE_AND_EXPANSION = ("zhao2025", "ludziejewski2025", "clark2022", "abnar2025", "ling2025")
TAKES_EXPANSION = ("ludziejewski2025", "clark2022", "abnar2025", "ling2025")


@dataclass(frozen=True)
class Answer:
    """What the search must give."""

    num_within: int
    best: dict[str, float]
    undecided: set[Sizes]
    """All that no other beats by .005 nats under all laws that are heard."""
    least_mean: tuple[float, Sizes] | None
    """Of the mean loss over these laws: who is chosen by loss."""
    heard: tuple[str, ...]


def tokens_within(space: dict[str, Any], asked: dict[str, Any]) -> dict[Sizes, float]:
    """Every design within the budgets, with its training tokens."""
    tokens: dict[Sizes, float] = {}
    for sizes in every_design(space):
        taken = counted(sizes, asked["weights_dtype"])
        if any(asked.get(name) and taken[name] > asked[name] for name in ("memory", "total_params", "active_params")):
            continue
        if keeps_the_rules(sizes, space):
            tokens[sizes] = asked.get("train_tokens") or asked["train_flops"] / taken["flops"]
    return tokens


def solve(space: dict[str, Any], asked: dict[str, Any], names: tuple[str, ...] = LAWS) -> Answer:
    """Try everything."""
    tokens = tokens_within(space, asked)
    if not tokens:
        return Answer(0, {}, set(), None, ())
    best = {law: float(losses_of(tokens, law).min()) for law in names}
    fewest = min(d / active_params_non_embedding(spec(sizes)) for sizes, d in tokens.items())
    heard = tuple(
        law
        for law in names
        if law in MOVED_SIZE_AND_EXPANSION and fewest >= 0.98 * laws.get(law).judges.least_tokens_per_param
    )
    asked_twice = [(law, r) for law in heard for r in ((0, 1) if law in TAKES_EXPANSION else (None,))]
    asked_twice = asked_twice or [(law, None) for law in names]
    found = np.array([losses_of(tokens, law, reading) for law, reading in asked_twice])
    left = open_among(found)
    every = list(tokens)
    undecided = {sizes for sizes, open_ in zip(every, left, strict=True) if open_}
    by_law = [found[[law == name for law, _ in asked_twice]].mean(axis=0) for name in heard or names]
    mean = np.mean(by_law, axis=0)
    least = min((float(mean[n]), sizes) for n, sizes in enumerate(every) if left[n])
    return Answer(len(tokens), best, undecided, least, heard or names)


def open_among(found: Any) -> Any:
    """(n,): which of (readings, n) losses no other beats by .005 nats in all readings."""
    return np.array(
        [not bool((found < found[:, [n]] - 0.005).all(axis=0).any()) for n in range(found.shape[1])], dtype=bool
    )


def least_bill(
    space: dict[str, Any],
    asked: dict[str, Any],
    readings: list[tuple[str, int | None]],
    goal: tuple[Sizes, float],
    bill: Callable[[Sizes, float], float],
    may_judge: bool,
) -> tuple[float, float, Sizes]:
    """(bill, tokens, sizes) of what is as good as the goal, of all sizes, and least dear.

    At every tenth of a decade of active parameters down to an eighth of the largest that is open.
    """
    tokens = tokens_within(space, asked)
    every = list(tokens)
    active_of = np.array([active_params(spec(sizes)) for sizes in every])
    found = np.array([losses_of(tokens, law, reading) for law, reading in readings])
    pool = np.flatnonzero(open_among(found))
    most = active_of[pool].max()
    at_each = [pool]
    for step in range(-400, 400):
        if most / 8 <= 10 ** (step / 10) < most:
            within = np.flatnonzero(active_of <= 10 ** (step / 10))
            at_each.append(within[open_among(found[:, within])])
    seeing = [(law, reading) for law, reading in readings if law != "clark2022"]
    wanted = {each: float(losses_of(dict([goal]), *each)[0]) for each in seeing}
    best: list[tuple[float, float, Sizes]] = []
    for place in sorted(set(np.concatenate(at_each).tolist())):
        sizes, most_tokens = every[place], 0.0
        for each in seeing:

            def above(d: float, each: Any = each, sizes: Sizes = sizes) -> float:
                return float(losses_of({sizes: d}, *each)[0]) - wanted[each]

            low, high = 0.25 * tokens[sizes], 16 * tokens[sizes]
            if above(high) > 0:
                most_tokens = np.inf
                break
            most_tokens = max(most_tokens, low if above(low) <= 0 else brentq(above, low, high, rtol=1e-12))
        per_param = most_tokens / active_params_non_embedding(spec(sizes))
        least = max(laws.get(law).judges.least_tokens_per_param for law, _ in seeing)
        if most_tokens > max(40e12, goal[1] * (1 + 1e-6)) or (may_judge and per_param < 0.98 * least):
            continue
        best.append((bill(sizes, most_tokens), most_tokens, sizes))
    return min(best)
