"""Training memory against published tables and formulas, training time against published runs."""

import pytest

from moewright.architecture import Architecture
from moewright.architecture.counts import total_params
from moewright.architecture.feed_forwards import Dense
from moewright.architecture.mixers import Attention
from moewright.architecture.spec import Layer, Repeat
from moewright.errors import UserError
from moewright.hardware import Parallelism, training_device_hours, training_memory
from moewright.hf.loading import load_architecture


def gpt(width: int, layers: int, heads: int, vocabulary: int = 51200) -> Architecture:
    """A dense GPT layer as in Megatron-LM: full heads, two matrices of 4 x width."""
    mixer = Attention(num_heads=heads, num_kv_heads=heads, head_dim=width // heads)
    layer = Layer(mixer=mixer, feed_forward=Dense(size=4 * width, gated=False, activation="gelu"))
    return Architecture(
        vocab_size=vocabulary, hidden_size=width, layers=(Repeat(repeat=layers, layers=(layer,)),), tie_embeddings=True
    )


# ZeRO, arXiv 1910.02054, table 1: GB of states of a 7.5B model with mixed-precision Adam, by devices and stage.
@pytest.mark.parametrize(
    ("devices", "by_stage"),
    [
        (1, (120, 120, 120, 120)),
        (4, (120, 52.5, 41.3, 30)),
        (16, (120, 35.6, 21.6, 7.5)),
        (64, (120, 31.4, 16.6, 1.88)),
        (256, (120, 30.4, 15.4, 0.47)),
        (1024, (120, 30.1, 15.1, 0.12)),
    ],
)
def test_zero_table(devices: int, by_stage: tuple[float, ...]) -> None:
    model = gpt(4096, 37, 32)
    scale = 7.5e9 / total_params(model)
    for stage, expected in enumerate(by_stage):
        kept = training_memory(model, Parallelism(data=devices, zero_stage=stage), tokens_per_sequence=1)
        states = scale * (kept.weights + kept.gradients + kept.optimizer) / 1e9
        assert states == pytest.approx(expected, abs=0.06 if expected > 1 else 0.006)


def test_dense_activations_after_korthikanti() -> None:
    # arXiv 2205.05198, equation 1 without the scores: 34 s b h L bytes, of which 2 are dropout masks that are not kept
    # here; tensor with sequence parallelism divides all of it (equation 4). Logits: 4 s b v (section 4.3).
    width, layers, tokens = 2048, 10, 2 * 1024
    model = gpt(width, layers, 16)
    for tensor in (1, 4):
        kept = training_memory(model, Parallelism(tensor=tensor), micro_batch=2, tokens_per_sequence=1024)
        assert kept.activations == (34 - 2) * tokens * width * layers / tensor
        assert kept.logits == 4 * tokens * 51200 / tensor
    # Recomputing layers keeps 2 s b h of each (section 5) and one layer's rest.
    kept = training_memory(model, micro_batch=2, tokens_per_sequence=1024, recompute="layers")
    assert kept.activations == (2 * layers + 32) * tokens * width


def test_moe_activations_by_hand() -> None:
    # Mixtral-8x7B, one token of one layer, in numbers of 2 bytes: norms' and sublayers' inputs 4 x 4096; queries 4096,
    # keys and values 1024 each, attention's output 4096; two experts with their copy, gate, up, product and output; and
    # eight scores and their softmax in fp32.
    numbers = 4 * 4096 + (4096 + 2 * 1024 + 4096) + 2 * (4096 + 3 * 14336 + 4096)
    model = load_architecture("examples/configs/mixtral-8x7b.json").architecture
    kept = training_memory(model, tokens_per_sequence=1000)
    assert kept.activations == 1000 * 32 * (2 * numbers + 4 * 16)
    uneven = training_memory(model, tokens_per_sequence=1000, imbalance=1.5)
    assert uneven.activations - kept.activations == 1000 * 32 * 2 * 0.5 * 2 * (2 * 4096 + 3 * 14336)


def test_precisions_and_recomputed_experts_by_hand() -> None:
    model = load_architecture("examples/configs/mixtral-8x7b.json").architecture
    params = total_params(model)
    mixed, fp32, products = (training_memory(model, precision=kind) for kind in ("bf16", "fp32", "bf16_products"))
    # Weights, gradients and AdamW: 2 + 2 + 12 bytes; 4 + 4 + 8; 4 and a copy of 2, 4, 8.
    for kept, each in ((mixed, 16), (fp32, 16), (products, 18)):
        assert kept.weights + kept.gradients + kept.optimizer == each * params
    # Routers' scores are fp32 in any precision: eight and their softmax for each of 4,096 tokens in 32 layers.
    scores = 4096 * 32 * 4 * 16
    assert fp32.activations - scores == 2 * (products.activations - scores) == 2 * (mixed.activations - scores)
    # Two experts keep their two first products, not their copy (4096), product (14336) and output (4096).
    lean = training_memory(model, recompute="experts")
    assert mixed.activations - lean.activations == 4096 * 32 * 2 * 2 * (4096 + 14336 + 4096)
    # A chunk's logits and, beside them, their gradient, in fp32.
    assert training_memory(model, logit_rows=512).logits == 2 * 4 * 512 * model.vocab_size


def test_experts_are_spread_and_shared_apart() -> None:
    model = load_architecture("examples/configs/mixtral-8x7b.json").architecture
    experts = 32 * 8 * 3 * 4096 * 14336
    rest = total_params(model) - experts
    spread = Parallelism(data=16, expert=8, zero_stage=1)
    kept = training_memory(model, spread)
    assert kept.weights == 2 * (rest + experts / 8)
    assert kept.optimizer == 12 * (rest / 16 + experts / 8 / 2)  # two copies of each expert share its state
    split = training_memory(model, Parallelism(tensor=2, pipeline=4))
    assert split.weights == pytest.approx(2 * total_params(model) / 8, rel=0.01)
    # The first stage of a pipeline holds as many micro-batches as there are stages: as much as without one.
    assert split.activations == training_memory(model, Parallelism(tensor=2)).activations
    assert training_memory(model, optimizer="adamw_bf16_moments", gradient_dtype="fp32").total > 14 * total_params(
        model
    )


def test_degrees_must_divide() -> None:
    model = load_architecture("examples/configs/mixtral-8x7b.json").architecture
    with pytest.raises(UserError, match="must divide"):
        training_memory(model, Parallelism(data=3, expert=2))
    with pytest.raises(UserError, match="imbalance"):
        training_memory(model, imbalance=0.5)


def test_published_runs_lie_in_the_range() -> None:
    # DeepSeek-V3: 2.664M hours of H800 (an H100 with slower links) for 14.8T tokens (arXiv 2412.19437, table 1).
    deepseek = load_architecture("examples/configs/deepseek-v3.json").architecture
    low, high = training_device_hours(deepseek, 14.8e12, "H100", 2048)
    assert low < 2.664e6 < high
