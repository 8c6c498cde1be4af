"""predict: the loss that each scaling law expects of a model, how far it must extrapolate, or why it is silent.

Of several models: which is better, where the laws that may judge it agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from moewright.commands.checking import as_list, command
from moewright.commands.collect_runs import run_table_of
from moewright.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from moewright.architecture import Architecture
    from moewright.laws import JudgedModels, Law, Prediction


@overload
def predict(
    config: str | Path | dict[str, Any] | Architecture,
    train_tokens: str | float,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    *,
    unique_tokens: str | float | None = None,
    serve_tokens: str | float | None = None,
    own: str | Path | pd.DataFrame | None = None,
) -> Prediction: ...


@overload
def predict(
    config: Sequence[str | Path | dict[str, Any] | Architecture],
    train_tokens: str | float,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    *,
    unique_tokens: str | float | None = None,
    serve_tokens: str | float | None = None,
    own: str | Path | pd.DataFrame | None = None,
) -> Prediction | JudgedModels: ...


@command
def predict(
    config: str | Path | dict[str, Any] | Architecture | Sequence[str | Path | dict[str, Any] | Architecture],
    train_tokens: str | float,
    law: str | Path | Law | Iterable[str | Path | Law] | None = None,
    *,
    unique_tokens: str | float | None = None,
    serve_tokens: str | float | None = None,
    own: str | Path | pd.DataFrame | None = None,
) -> Prediction | JudgedModels:
    """How good will it be? What every scaling law that applies expects, and how far it must extrapolate.

    A law that does not apply is listed with its reason. Of several configs every two are judged: which has the lower
    loss, where all laws that may judge it agree, and otherwise why that is open. One config, or a list of one, gives a
    `Prediction`; a list of several a `JudgedModels`.

    >>> import moewright
    >>> prediction = moewright.predict("examples/configs/olmoe-1b-7b.json", "5T", law="zhao2025")
    >>> round(prediction.laws[0].loss, 3)
    2.258
    >>> moewright.predict(["qwen3-30b-a3b", "olmoe-1b-7b"], "2T").pairs[0].better
    'first'

    Args:
        config: HF config.json, its folder, a moewright architecture file, or a published model's name.
        train_tokens: Training tokens, such as 2T.
        law: A law's name or the file of a fitted one; repeatable. [default: all]
        unique_tokens: Different tokens that there are, such as 500B; what is trained beyond them is seen again.
            [default: as many as are trained]
        serve_tokens: Tokens that the one model will serve in its life, such as 10T: the size and the training tokens of
            the same loss for which training and serving take the fewest FLOPs.
        own: Run table of your own small runs (or a folder of runs), of one recipe: of several models, it decides what
            the laws leave open where it is sure.

    Raises:
        UserError: For what cannot be read.
    """
    from moewright.hf.loading import load_architecture
    from moewright.laws.fitting.fitted_law import resolve_laws
    from moewright.quantities import parse_tokens

    models = [load_architecture(each) for each in as_list(config)]
    tokens = parse_tokens(train_tokens, "train-tokens")
    chosen = resolve_laws(as_list(law)) or None
    unique = None if unique_tokens is None else parse_tokens(unique_tokens, "unique-tokens")
    served = None if serve_tokens is None else parse_tokens(serve_tokens, "serve-tokens")
    if len(models) > 1:
        if served is not None:
            raise UserError("serve-tokens: is about the life of one model; give one config")
        from moewright.laws.judging.judged_models import judge_loaded

        return judge_loaded(
            models, tokens, chosen, unique_tokens=unique, own=None if own is None else run_table_of(own)
        )
    if own is not None:
        raise UserError("own: tells which of several models is better; give two configs or more")
    from moewright.laws.prediction import predict_losses

    (one,) = models
    return predict_losses(
        one.name, one.architecture, tokens, chosen, one.warnings, unique_tokens=unique, serve_tokens=served
    )
