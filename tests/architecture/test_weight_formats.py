"""Weight bytes against published checkpoint sizes, and against a brute-force count of blocks."""

import math
import random

import pytest

from moewright.architecture.inventory import Weight
from moewright.architecture.weight_formats import WEIGHT_FORMATS, weights_bytes
from moewright.hf.config import read_config


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_gpt_oss_checkpoints(name: str, gib: float) -> None:
    # Model card, arXiv 2508.10925, table 1: checkpoint sizes in GiB.
    architecture = read_config(f"examples/configs/{name}.json").architecture
    assert architecture.weights_format == "mxfp4"
    assert weights_bytes(architecture, "mxfp4") / 2**30 == pytest.approx(gib, abs=0.05)


def test_plain_formats_are_bytes_times_parameters() -> None:
    architecture = read_config("examples/configs/mixtral-8x7b.json").architecture
    assert weights_bytes(architecture, "bf16") == 2 * 46_702_792_704
    assert weights_bytes(architecture, "fp32") == 4 * 46_702_792_704


@pytest.mark.parametrize("name", [name for name, stored in WEIGHT_FORMATS.items() if stored.bits])
def test_blocks_by_brute_force(name: str) -> None:
    stored = WEIGHT_FORMATS[name]  # type: ignore[index]
    r = random.Random(name)
    for _ in range(100):
        outputs, inputs, copies = r.randrange(1, 300), 2 * r.randrange(1, 150), r.randrange(1, 4)
        weight = Weight("up_proj", "routed_experts", outputs, inputs, copies, 1)
        high, wide = stored.block[0] or outputs, stored.block[1] or inputs
        scales = len(range(0, outputs, high)) * len(range(0, inputs, wide))
        expected = copies * (math.ceil(outputs * inputs * stored.bits / 8) + scales * stored.scale_bytes)
        assert stored.weight_bytes(weight) == expected
