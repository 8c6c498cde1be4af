"""The recipe of a run: model, data, and everything that training does to them. No torch.

`Recipe.load` reads what people write (YAML or JSON, with paths beside the file); a run folder keeps the resolved form,
from which alone the run can be repeated.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from moewright.architecture import Architecture
from moewright.errors import UserError
from moewright.experiment.routing import Balancing, Dispatch, NonNegative
from moewright.experiment.support import check_trainable
from moewright.files import read_mapping
from moewright.hf.loading import load_architecture
from moewright.quantities import brief, parse_count
from moewright.records import LARGEST_SIZE, Count, FileRecord, Positive, Record, Size

Share = Annotated[float, Field(ge=0, le=1)]


def _whole(value: Any) -> Any:
    """5M, 1e9 and 5000000 are the same count."""
    if isinstance(value, str) or (isinstance(value, float) and value.is_integer()):
        return int(parse_count(value, "count"))
    return value


Tokens = Annotated[int, BeforeValidator(_whole), Field(gt=0)]
SomeTokens = Annotated[int, BeforeValidator(_whole), Field(ge=0)]

# A setting that is a value or a mapping: what is wrong is then said of the form that was written.
_VALUE, _MAPPING = Tag("value"), Tag("mapping")
_FORM = Discriminator(lambda given: "mapping" if isinstance(given, dict | Record) else "value")


class ShardFiles(Record):
    """Token files of one's own, instead of a prepared folder."""

    train: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    validation: dict[str, Annotated[tuple[str, ...], Field(min_length=1, strict=False)]]
    vocab_size: Size
    dtype: Literal["uint16", "uint32"] | None = None
    end_of_document: Count | None = None


class LawRate(Record):
    """The peak learning rate that a published rule advises for this model and this many tokens."""

    law: Literal["steplaw", "ludziejewski2025_lr"]
    multiplier: Positive = 1.0


class Schedule(Record):
    """The learning rate over the run's tokens, as a share of the peak: a linear warm-up, then its kind."""

    kind: Literal["cosine", "wsd", "constant"] = "cosine"
    """cosine: down to final_share at the end. wsd: constant, then a linear decay (arXiv 2404.06395)."""
    warmup_tokens: SomeTokens = 0
    final_share: Share = 0.1
    decay_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """wsd: share of the run's tokens that the decay takes."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Settings that this kind has no use for."""
        return {"wsd": (), "cosine": ("decay_share",), "constant": ("decay_share", "final_share")}[self.kind]


class Optimizer(Record):
    """AdamW (arXiv 1711.05101), or Muon (Jordan 2024) on the matrices inside the layers with AdamW on the rest.

    Weight decay is decoupled and leaves out vectors: norms and biases.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Of Muon, whose steps are scaled to AdamW's (arXiv 2502.16982, section 2.2), so that one learning rate serves."""
    clip_norm: Positive | None = 1.0
    """Largest norm of all gradients together; None: no clipping."""


class Initialization(Record):
    """How weights begin, and how learning rates follow the width.

    standard: normal with one deviation, projections into the residual divided by sqrt(2 layers) (GPT-2).
    mup: after Tensor Programs V (arXiv 2203.03466, table 8, Adam), equal to `standard` with deviation
    1/sqrt(base_width) at the base width: inner matrices get deviation 1/sqrt(inputs) and learning rates times
    base_width / width; head and router deviation sqrt(base_width) / inputs with that learning rate too. The attention's
    scale stays 1/sqrt(head_dim), since head_dim does not grow with the width here.
    """

    rule: Literal["standard", "mup"] = "standard"
    deviation: Positive = 0.02
    base_width: Size = 256

    @property
    def unused(self) -> str:
        """The setting that this rule has no use for."""
        return "base_width" if self.rule == "standard" else "deviation"

    @model_validator(mode="after")
    def _no_unused(self) -> "Initialization":
        if self.unused in self.model_fields_set:
            raise ValueError(f"{self.unused} has no use under rule {self.rule}")
        return self


class Evaluation(Record):
    """When and on how much the validation loss is taken; always at the end too."""

    every_tokens: Tokens | None = None
    sequences: Size | None = None
    """Of each validation set, from its beginning. None: all."""


class Checkpoints(Record):
    """When the state is written; always at the end too."""

    every_tokens: Tokens | None = None
    every_minutes: Positive | None = 10.0
    keep: Size = 2
    """How many of the newest stay."""


class Recipe(FileRecord):
    """Everything that decides a run."""

    format: Literal["moewright-recipe/1"] = "moewright-recipe/1"
    version_without_format: ClassVar[int | None] = 1
    architecture: Architecture
    data: Annotated[Annotated[str, _VALUE] | Annotated[ShardFiles, _MAPPING], _FORM]
    """Folder that `moewright data prepare` wrote, or files."""
    train_tokens: Tokens
    sequence_length: Size
    batch_tokens: Tokens
    """Of one optimizer step, over all processes."""
    micro_batch_sequences: Size
    """Of one forward pass on one process; gradients of several are accumulated."""
    learning_rate: Annotated[Annotated[Positive, _VALUE] | Annotated[LawRate, _MAPPING], _FORM]
    """At the peak."""
    schedule: Schedule = Schedule.default()
    optimizer: Optimizer = Optimizer.default()
    initialization: Initialization = Initialization.default()
    initial_weights: str | None = None
    """Folder of a Hugging Face checkpoint of this architecture to start from, instead of an initialization."""
    balancing: Balancing = Balancing.default()
    dispatch: Dispatch = Dispatch.default()
    prediction_loss_weight: Positive = 0.3
    """Of the prediction blocks' losses, averaged over the blocks, where the architecture has some (mtp_layers);
    DeepSeek-V3 began with 0.3 and ended with 0.1 (arXiv 2412.19437, section 4.2)."""
    document_mask: bool = False
    """True: tokens look at their own document only. False: documents are packed, and a token sees all before it."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of products and activations; weights, gradients and optimizer state are fp32, routers and losses too."""
    recompute: bool = False
    """True: layers are computed again in the backward pass, which keeps only their inputs."""
    parallel: Literal["replicate", "shard"] = "replicate"
    """With several processes: whole copies of the model, or FSDP2."""
    evaluation: Evaluation = Evaluation.default()
    checkpoints: Checkpoints = Checkpoints.default()
    log_every_steps: Size = 10
    mirrors: Annotated[tuple[Literal["wandb", "mlflow", "trackio"], ...], Field(strict=False)] = ()
    """Where metrics go beside the run's own file."""
    seed: Count = 0
    """Of the initial weights and of the order of the data."""

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.batch_tokens % self.sequence_length:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens:,}) must be a multiple of sequence_length ({self.sequence_length:,})"
            )
        if self.batch_sequences % self.micro_batch_sequences:
            raise ValueError(
                f"micro_batch_sequences ({self.micro_batch_sequences}) must divide the {self.batch_sequences} "
                "sequences of batch_tokens"
            )
        if self.train_tokens < self.batch_tokens:
            raise ValueError(f"train_tokens ({self.train_tokens:,}) are fewer than one batch ({self.batch_tokens:,})")
        if self.total_steps > LARGEST_SIZE:  # more than the records of a run can count
            raise ValueError(
                f"train_tokens ({self.train_tokens:,}) are {self.total_steps:,} steps of batch_tokens "
                f"({self.batch_tokens:,}); a run has at most {LARGEST_SIZE:,}"
            )
        if self.schedule.warmup_tokens >= self.train_tokens:
            raise ValueError(
                f"schedule.warmup_tokens ({self.schedule.warmup_tokens:,}) must be fewer than train_tokens "
                f"({self.train_tokens:,}): the run would end before its peak learning rate"
            )
        longest = self.architecture.max_context
        if longest is not None and self.sequence_length > longest:
            raise ValueError(
                f"sequence_length ({self.sequence_length}) exceeds the architecture's max_context {longest}"
            )
        decay_tokens = self.schedule.decay_share * self.train_tokens
        if self.schedule.kind == "wsd" and self.schedule.warmup_tokens + decay_tokens > self.train_tokens:
            raise ValueError(
                f"schedule.warmup_tokens ({self.schedule.warmup_tokens:,}) and the decay ({decay_tokens:,.0f} tokens) "
                f"overlap in a run of {self.train_tokens:,}"
            )
        for name in self.schedule.unused:
            if name in self.schedule.model_fields_set:
                raise ValueError(f"schedule.{name} has no use in a {self.schedule.kind} schedule")
        if self.optimizer.kind == "adamw" and "momentum" in self.optimizer.model_fields_set:
            raise ValueError("optimizer.momentum has no use in adamw; it has beta1")
        if self.optimizer.kind == "muon" and self.parallel == "shard":
            raise ValueError("optimizer.kind muon needs whole matrices; use parallel: replicate")
        if self.initial_weights is not None and "initialization" in self.model_fields_set:
            raise ValueError("initialization has no use beside initial_weights; state one of them")
        blocks = self.architecture.mtp_layers
        if not blocks and "prediction_loss_weight" in self.model_fields_set:
            raise ValueError("prediction_loss_weight has no use without prediction blocks (architecture.mtp_layers)")
        if blocks >= self.sequence_length:
            raise ValueError(f"sequence_length ({self.sequence_length}) leaves {blocks} prediction blocks no token")
        if blocks and self.initial_weights is not None:
            raise ValueError("initial_weights are read without prediction blocks; set architecture.mtp_layers to 0")
        self._check_balancing()
        return self

    def _check_balancing(self) -> None:
        mixtures = [moe for _, moe in self.architecture.moe_layers()]
        balancing, dispatch = self.balancing, self.dispatch
        if not mixtures:
            for section, settings in (("balancing", balancing), ("dispatch", dispatch)):
                if settings != type(settings)():
                    raise ValueError(f"{section}: the architecture has no experts; leave it out")
            return
        has_bias = [moe.router.selection_bias is not None for moe in mixtures]
        if balancing.selection_bias is not None and not all(has_bias):
            raise ValueError("balancing.selection_bias needs `selection_bias: buffer` in the router of every mixture")
        for loss in balancing.losses:
            loss.check(mixtures)
        if balancing.selection_bias is not None and balancing.selection_bias.update == "quantile":
            if dispatch.forced is not None:
                raise ValueError("balancing.selection_bias.update: quantile has no use where dispatch.forced chooses")
            if any(moe.router.num_groups > 1 for moe in mixtures):
                raise ValueError(
                    "balancing.selection_bias.update: quantile needs router.num_groups 1: within the best groups an "
                    "expert's load follows other experts' biases too"
                )
            if any(group.top_k == group.count for moe in mixtures for group in moe.groups):
                raise ValueError("balancing.selection_bias.update: quantile needs experts that are not chosen")
        if dispatch.forced is not None and (dispatch.capacity or dispatch.evaluation_capacity):
            raise ValueError("dispatch.forced sends every expert the same; capacity has no use beside it")

    @property
    def batch_sequences(self) -> int:
        """Sequences of one optimizer step."""
        return self.batch_tokens // self.sequence_length

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run: the last may go beyond train_tokens by less than a batch."""
        return -(-self.train_tokens // self.batch_tokens)

    @property
    def trained_tokens(self) -> int:
        """Tokens that the run is trained on: whole steps, so perhaps more than train_tokens, by less than a batch."""
        return self.total_steps * self.batch_tokens

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the run's reader should know although it is allowed."""
        notes = []
        biased = any(moe.router.selection_bias is not None for _, moe in self.architecture.moe_layers())
        if biased and self.balancing.selection_bias is None:
            notes.append("the routers have a selection bias, but balancing.selection_bias is not set: it stays 0")
        if self.architecture.moe_layers() and self.balancing == Balancing() and self.dispatch.forced is None:
            notes.append("no balancing at all: experts may die")
        return tuple(notes)

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a recipe: YAML or JSON. `architecture` may be a path (a HF config.json, its folder, a moewright file).

        Paths are relative to the file. Raises UserError naming the field that is wrong.

        >>> recipe = Recipe.load("examples/train/tiny.yaml")
        >>> recipe.total_steps, recipe.architecture.num_layers, recipe.optimizer.kind
        (123, 4, 'adamw')
        """
        path = Path(path)
        if path.is_dir():
            raise UserError(f"{path}: is a folder; expected a recipe, a YAML or JSON file")
        values = read_mapping(path)
        return cls.from_dict(values, path, beside=path.parent)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str | Path = "", *, beside: Path | None = None) -> "Recipe":
        """Validate a plain dictionary; paths in it are relative to `beside`."""
        beside = beside or Path()
        values = dict(values)
        if "architecture" not in values and "layers" in values:
            raise UserError("this is an architecture, not a recipe; name it under `architecture:` of a recipe")
        given = values.get("architecture")
        if isinstance(given, str):
            values["architecture"] = load_architecture(given, beside).architecture
        elif isinstance(given, dict):
            values["architecture"] = load_architecture(given).architecture
        for key in ("data", "initial_weights"):
            if isinstance(values.get(key), str):
                values[key] = _absolute(beside, values[key], key)
        data = values.get("data")
        if isinstance(data, dict):
            values["data"] = _resolved(data, beside)
        recipe = super().from_dict(values, where)
        check_trainable(recipe.architecture)
        return recipe

    def to_dict(self, defaults: bool = True) -> dict[str, Any]:
        """A plain dictionary for JSON or YAML with every setting written out that has a use; `from_dict` takes it."""
        values = {**self.model_dump(mode="json"), "architecture": self.architecture.to_dict()}
        for name in self.schedule.unused:
            del values["schedule"][name]
        if not self.architecture.mtp_layers:
            del values["prediction_loss_weight"]
        if self.optimizer.kind == "adamw":
            del values["optimizer"]["momentum"]
        if self.balancing.selection_bias is not None:
            for name in self.balancing.selection_bias.unused:
                del values["balancing"]["selection_bias"][name]
        if self.initial_weights is not None:
            del values["initialization"]
        else:
            del values["initialization"][self.initialization.unused]
        return values


def _absolute(beside: Path, name: str, where: str) -> str:
    """A path relative to a folder, as an absolute one; UserError for what no path can be."""
    try:
        return str((beside / name).resolve())
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, a NUL or half of a surrogate pair
        raise UserError(f"{where}: {brief(name)} is not a path that can be looked up") from None


def _resolved(data: dict[str, Any], beside: Path) -> dict[str, Any]:
    """Shards with absolute paths; anything malformed is left for validation to name."""

    def absolute(files: Any) -> Any:
        is_list = isinstance(files, list | tuple) and all(isinstance(file, str) for file in files)
        return [_absolute(beside, file, "data") for file in files] if is_list else files

    resolved = dict(data)
    if "train" in data:
        resolved["train"] = absolute(data["train"])
    if isinstance(data.get("validation"), dict):
        resolved["validation"] = {name: absolute(files) for name, files in data["validation"].items()}
    return resolved
