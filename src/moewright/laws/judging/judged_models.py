"""Several models under the same training: what each law expects of each, and which of every two is better."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from moewright.display import ShownTable
from moewright.errors import UserError
from moewright.laws.judging.compared_designs import ComparedDesigns
from moewright.laws.judging.judgement import JudgedPair, judge_pairs, laws_to_hear
from moewright.laws.judging.own_runs import ask_own_runs
from moewright.laws.law import Law
from moewright.laws.prediction import Prediction, PredictionAnswer, predict_losses
from moewright.records import Items, Output

if TYPE_CHECKING:
    import pandas as pd

    from moewright.hf.loading import Loaded

MOST_MODELS = 12


class JudgedModelsAnswer(Output):
    """Predictions of several models, and every two of them judged. Nothing in it is an order."""

    command: ClassVar[str] = "predict A B"
    models: Items[PredictionAnswer]
    pairs: Items[JudgedPair]


@dataclass(frozen=True, repr=False)
class JudgedModels(ShownTable):
    """Predictions of several models, and every two of them judged, in the order in which the models were given."""

    predictions: tuple[Prediction, ...]
    pairs: tuple[JudgedPair, ...]

    def _facts(self) -> Mapping[str, Any]:
        decided = sum(pair.decided for pair in self.pairs)
        return {"models": [each.model for each in self.predictions], "pairs": len(self.pairs), "decided": decided}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = ("first", "second", "better", "mean", "low", "high", "reason")
        return [{name: getattr(pair, name) for name in names} for pair in self.pairs]

    def answer(self) -> JudgedModelsAnswer:
        """What `moewright predict A B --json` prints."""
        return JudgedModelsAnswer(models=tuple(each.answer() for each in self.predictions), pairs=self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright predict A B --json`."""
        return self.answer().to_dict()


def judge_loaded(
    models: "Sequence[Loaded]",
    train_tokens: float,
    laws: Iterable[Law] | None = None,
    *,
    unique_tokens: float | None = None,
    own: "pd.DataFrame | None" = None,
) -> JudgedModels:
    """Predict and judge models that are trained on the same tokens. `laws` restricts those that are heard; `own` are
    a user's runs.

    UserError for a law that may not judge, and for more than a dozen models.
    """
    if len(models) > MOST_MODELS:
        raise UserError(f"config: {len(models)} models; every two are judged, so give at most {MOST_MODELS}")
    heard = laws_to_hear(laws)
    occurs = Counter(model.name for model in models)
    names = [
        f"{model.name} ({place + 1})" if occurs[model.name] > 1 else model.name for place, model in enumerate(models)
    ]
    predictions = tuple(
        predict_losses(
            name, model.architecture, train_tokens, heard if laws else None, model.warnings, unique_tokens=unique_tokens
        )
        for name, model in zip(names, models, strict=True)
    )
    tokens = predictions[0].effective_tokens
    designs = [ComparedDesigns(model.architecture, tokens) for model in models]
    belief = None if own is None else ask_own_runs(own, designs, heard)
    return JudgedModels(predictions, judge_pairs(designs, heard, belief, names))
