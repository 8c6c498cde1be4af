"""predict: the loss that each scaling law expects of a model, how far it must extrapolate, or why it is silent."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moewright.commands.checking import as_list, command

if TYPE_CHECKING:
    from moewright.architecture import Architecture
    from moewright.laws import Law, Prediction


@command
def predict(
    config: str | Path | dict[str, Any] | Architecture,
    train_tokens: str | float,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    *,
    unique_tokens: str | float | None = None,
) -> Prediction:
    """How good will it be? What every scaling law that applies expects, and how far it must extrapolate.

    A law that does not apply is listed with its reason.

    >>> import moewright
    >>> prediction = moewright.predict("examples/configs/olmoe-1b-7b.json", "5T", law="zhao2025")
    >>> round(prediction.laws[0].loss, 3)
    2.258

    Args:
        config: HF config.json, its folder, or a moewright architecture file.
        train_tokens: Training tokens, such as 2T.
        law: A law's name or the file of a fitted one; repeatable. [default: all]
        unique_tokens: Different tokens that there are, such as 500B; what is trained beyond them is seen again.
            [default: as many as are trained]

    Raises:
        UserError: For what cannot be read.
    """
    from moewright.hf.loading import load_architecture
    from moewright.laws import resolve_law
    from moewright.laws.prediction import predict_losses
    from moewright.quantities import parse_count

    loaded = load_architecture(config)
    tokens = parse_count(train_tokens, "train-tokens")
    chosen = [resolve_law(each) for each in as_list(law)] or None
    unique = None if unique_tokens is None else parse_count(unique_tokens, "unique-tokens")
    return predict_losses(loaded.name, loaded.architecture, tokens, chosen, loaded.warnings, unique_tokens=unique)
