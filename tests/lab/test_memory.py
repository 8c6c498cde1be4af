"""What the accounting of training memory says, against what autograd really keeps."""

import random

import pytest
import torch

from moewright.architecture import Architecture
from moewright.errors import UserError
from moewright.experiment.planning import check_memory, expected_memory
from moewright.experiment.recipe import Initialization, Recipe
from moewright.lab.machine import free_memory
from moewright.lab.model import Transformer
from moewright.lab.optimization import initialize

CASES = 12


def random_recipe(rng: random.Random) -> Recipe:
    """A mixture of a size at which activations matter, over 1,024 tokens of one forward pass."""
    heads, head_dim = rng.choice([2, 4]), rng.choice([32, 64])
    top_k = rng.choice([1, 2, 4])
    experts = {"count": 8, "expert_size": rng.choice([64, 128, 256]), "top_k": top_k}
    shared = {"expert_size": 128} if rng.random() < 0.5 else None
    moe = {"kind": "moe", "groups": [experts], **({"shared": shared} if shared else {})}
    dense = {"kind": "dense", "size": 256}
    mixer = {
        "kind": "attention",
        "num_heads": heads,
        "num_kv_heads": rng.choice([1, heads]),
        "head_dim": head_dim,
        "rope": {},
        "qk_norm": rng.choice([None, "per_head", "full"]),
    }
    layers = [{"mixer": mixer, "feed_forward": rng.choice([moe, moe, dense])} for _ in range(3)]
    return Recipe.from_dict(
        {
            "architecture": {
                "format": "moewright-architecture/1",
                "vocab_size": 64,
                "hidden_size": rng.choice([128, 256]),
                "layers": layers,
            },
            "data": "unused",
            "train_tokens": 1024,
            "sequence_length": 128,
            "batch_tokens": 1024,
            "micro_batch_sequences": 8,
            "learning_rate": 0.001,
            "precision": rng.choice(["fp32", "bf16"]),
        }
    )


def kept_bytes(model: Transformer, sequences: int, length: int) -> int:
    """Bytes of all storages that a forward pass keeps for its backward pass, copies of weights among them."""
    storages: dict[int, int] = {}
    alive = []  # so that no address is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    tokens = torch.randint(0, 64, (sequences, length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden(tokens)
    return sum(storages.values())


@pytest.mark.parametrize("case", range(CASES))
def test_activations_are_what_autograd_keeps(case: int) -> None:
    torch.manual_seed(case)
    recipe = random_recipe(random.Random(case))
    model = Transformer(recipe.architecture, torch.bfloat16 if recipe.precision == "bf16" else None)
    initialize(model, Initialization(), 0)
    sequences, length = recipe.micro_batch_sequences, recipe.sequence_length
    # What grows with the tokens; what does not is no activation.
    kept = 2 * (kept_bytes(model, sequences, length) - kept_bytes(model, sequences // 2, length))
    assert kept == pytest.approx(float(expected_memory(recipe).activations), rel=0.15)


def test_a_model_that_cannot_fit_is_refused_before_it_is_built() -> None:
    recipe = random_recipe(random.Random(0))
    wide = recipe.architecture.model_copy(update={"vocab_size": 10**8})
    huge = recipe.model_copy(update={"architecture": Architecture.from_dict(wide.to_dict())})
    with pytest.raises(UserError, match=r"memory: this run needs some .* are free .*micro_batch_sequences"):
        check_memory(huge, free_memory(torch.device("cpu")))


def test_sharding_divides_what_one_process_holds() -> None:
    recipe = random_recipe(random.Random(1))
    alone, among_four = expected_memory(recipe), expected_memory(recipe.model_copy(update={"parallel": "shard"}), 4)
    assert among_four.optimizer == alone.optimizer / 4
    assert among_four.weights == alone.weights / 4
    assert among_four.activations == alone.activations
