"""A run's model by what Megatron-LM and OLMo-core log of it: what the exporters write comes back."""

import json
import random
import shlex
from pathlib import Path
from typing import Any

import pytest

import moewright
from moewright import Architecture, UserError
from moewright.architecture.canonical import canonical
from moewright.exporters.trained_models import trained_model
from moewright.runs.readers.run_log import plain_setting
from tests.exporters.samplers import SAMPLERS

FLAGS = {"swiglu": False, "add_bias_linear": True, "group_query_attention": False, "position_embedding_type": "rope"}
"""Of pretrain_gpt.py's defaults, those that matter here."""


def parsed(script: str, vocab_size: int) -> dict[str, Any]:
    """The arguments as its parser names them: a word with dashes and what follows, or True."""
    words = shlex.split(script.partition("MODEL_ARGS=(")[2].rpartition(")")[0])
    named: dict[str, Any] = {**FLAGS, "padded_vocab_size": vocab_size}
    for place, word in enumerate(words):
        if word.startswith("--"):
            value = words[place + 1] if place + 1 < len(words) and not words[place + 1].startswith("--") else "True"
            named[word[2:].replace("-", "_")] = plain_setting(value)
    if named.pop("disable_bias_linear", False):
        named["add_bias_linear"] = False
    return named


def exported(r: random.Random) -> tuple[Architecture, dict[str, Any]]:
    architecture = SAMPLERS["megatron"](r)
    files = moewright.export(architecture, "megatron").files
    return canonical(architecture), parsed(str(files["pretrain_gpt_args.sh"]), architecture.vocab_size)


def test_megatrons_arguments_are_the_model() -> None:
    r = random.Random("trained")
    for _ in range(60):
        wanted, given = exported(r)
        found = trained_model(given)
        assert found is not None
        assert found.model_copy(update={"max_context": wanted.max_context}) == wanted


def test_olmo_cores_config_is_the_model() -> None:
    r = random.Random("trained")
    for _ in range(30):
        architecture = SAMPLERS["olmo-core"](r)
        files = moewright.export(architecture, "olmo-core").files
        found = trained_model({"model": json.loads(files["olmo_core_config.json"]), "init_seed": 6})
        assert found is not None
        assert found.model_copy(update={"max_context": architecture.max_context}) == canonical(architecture)


def test_a_log_has_the_model_that_was_exported(tmp_path: Path) -> None:
    wanted, given = exported(random.Random(3))
    lines = ["------------------------ arguments ------------------------"]
    lines += [f"  {name} {'.' * (48 - len(name))} {value}" for name, value in {**given, "train_iters": 10}.items()]
    lines += ["-------------------- end of arguments ---------------------"]
    lines += [" iteration       10/      10 | consumed samples:          160 | lm loss: 2.5E+00 | grad norm: 1.0 |"]
    (tmp_path / "a.log").write_text("\n".join(lines) + "\n")
    (row,) = moewright.collect_runs(tmp_path).table.to_dict("records")
    found = Architecture.from_dict(json.loads(row["architecture"]))
    assert found.model_copy(update={"max_context": wanted.max_context}) == wanted
    assert row["loss"] == 2.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"add_bias_linear": True}, "biases in all linear layers"),
        ({"position_embedding_type": "learned_absolute"}, "positions of another kind: 'learned_absolute'"),
        ({"num_layers": "many"}, "are not understood"),
    ],
)
def test_another_model_is_refused_in_one_line(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        trained_model({**exported(random.Random(1))[1], **change})


def test_a_choice_of_arguments_says_no_model() -> None:
    assert trained_model({"num_layers": 4, "hidden_size": 64, "num_experts": 8}) is None
