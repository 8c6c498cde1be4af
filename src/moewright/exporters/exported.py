"""A model in a framework's own terms, with what was converted and the weights of a run; or a refusal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from moewright.architecture.counts import mtp_params, total_params
from moewright.complaints import check_number, hint
from moewright.display import Shown
from moewright.errors import UserError, needs_the_lab
from moewright.experiment.binding import not_bound
from moewright.experiment.early_digests import EarlyDigests
from moewright.experiment.run_folder import MODEL, read_run
from moewright.experiment.trained import Trained, find_trained, run_of, trained_architecture
from moewright.exporters import FORMATS
from moewright.exporters.target_conventions import Written
from moewright.files import new_folder, write_text
from moewright.hf.loading import ArchitectureSource, load_architecture
from moewright.quantities import brief
from moewright.records import Items, Output


class ExportAnswer(Output):
    """A model in a framework's terms."""

    command: ClassVar[str] = "export"
    out: str | None
    format: str
    files: Items[str]
    step: int | None
    """Of the checkpoint whose weights were written; null for a design."""
    notes: Items[str]
    """Conventions that were converted, and what the framework is told that the spec does not say."""
    total_params: int
    mtp_params: int
    warnings: Items[str]


@dataclass(frozen=True, repr=False)
class Export(Shown):
    """A model in a framework's terms."""

    format: str
    files: Mapping[str, str]
    """Name -> contents."""
    notes: tuple[str, ...]
    """Conventions that were converted, and what the framework is told that the spec does not say."""
    total_params: int
    """Exact; what the framework counts, prediction blocks apart."""
    mtp_params: int
    """Parameters of the prediction blocks."""
    warnings: tuple[str, ...] = ()
    """About the design's file."""
    trained: Trained | None = None
    """The checkpoint whose weights are written too."""
    balance_loss: float | None = None
    folder: Path | None = None
    """Where it was written."""

    def write(self, folder: str | Path) -> Path:
        """Write the files, and the weights of a run. The folder must be new or empty; it appears complete or not."""
        folder = Path(folder)
        if self.trained is not None:
            with EarlyDigests([self.trained.checkpoint / MODEL]) as digests:  # hashed while torch is imported
                try:
                    from moewright.lab.hf_weights import export_run
                except ModuleNotFoundError as error:
                    raise needs_the_lab(error) from None
                return export_run(self.trained.checkpoint, folder, balance_loss=self.balance_loss, digests=digests)
        with new_folder(folder) as partial:
            for name, contents in self.files.items():
                write_text(partial / name, contents)
        return folder

    def answer(self) -> ExportAnswer:
        """For JSON."""
        written = None if self.folder is None else sorted(path.name for path in self.folder.iterdir())
        return ExportAnswer(
            out=None if self.folder is None else str(self.folder),
            format=self.format,
            files=tuple(sorted(self.files) if written is None else written),
            step=None if self.trained is None else self.trained.step,
            notes=self.notes,
            total_params=self.total_params,
            mtp_params=self.mtp_params,
            warnings=self.warnings,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields of `moewright export --json`."""
        return self.answer().to_dict()

    def _facts(self) -> dict[str, Any]:
        return {"format": self.format, "files": sorted(self.files), "total_params": self.total_params}


def export_to(format: str, design: ArchitectureSource, balance_loss: float | str | None = None) -> Export:
    """A design (moewright file or object, its folder, or a Hugging Face config) for a framework: `FORMATS`.

    The folder of a trainer's run, or of one of its checkpoints, is exported with its weights in the format hf, the
    newest complete checkpoint's of the run; in the others it is a design.
    `balance_loss` is the coefficient of the auxiliary loss in moewright's convention: per layer 1 when balanced,
    averaged over the layers with experts. None: no such loss.
    Raises UserError naming the fields that the framework cannot express.

    >>> exported = export_to("megatron", "examples/configs/qwen3-30b-a3b.json", balance_loss=0.01)
    >>> sorted(exported.files), exported.total_params
    (['megatron_config.json', 'pretrain_gpt_args.sh'], 30532122624)
    >>> export_to("torchtitan", "examples/configs/gpt-oss-20b.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    moewright.errors.UserError: torchtitan cannot express ...
    """
    if format not in FORMATS:
        raise UserError(f"format: {brief(format)} is not one that moewright writes{hint(format, FORMATS)}")
    coefficient = None if balance_loss is None else _coefficient(balance_loss)
    run = run_of(Path(design)) if isinstance(design, str | Path) else None
    record = None if run is None else read_run(run)
    if run is not None and record is not None:
        trained_architecture(run, record)
    loaded = load_architecture(design if run is None else run)
    if coefficient is not None and not loaded.architecture.moe_layers():
        raise UserError("balance-loss: the model has no mixture-of-experts layer to balance")
    writer: Callable[..., Written] = import_module(f"moewright.exporters.{FORMATS[format]}").export
    written = writer(loaded.architecture, coefficient)
    notes, warnings = written.notes, loaded.warnings
    trained = None
    if run is not None and isinstance(design, str | Path):
        trained = find_trained(design) if format == "hf" else None
        old = not_bound(record, None) if trained is None else trained.not_bound
        notes += (_weights_note(trained),)
        warnings += () if old is None else (f"{run}: {old}",)
    stored = loaded.architecture.weights_format
    if stored is not None and format != "hf":
        notes += (f"weights_format {stored}: not exported; it says how published weights are stored, not how to train",)
    return Export(
        format=format,
        files=written.files,
        notes=notes,
        total_params=total_params(loaded.architecture),
        mtp_params=mtp_params(loaded.architecture),
        warnings=warnings,
        trained=trained,
        balance_loss=coefficient,
    )


def _weights_note(trained: Trained | None) -> str:
    if trained is None:
        return "weights: not included; of a run, this format has the design only"
    tokenizer = "" if trained.tokenizer is not None else "; no tokenizer: the run was trained on token ids alone"
    return f"weights: of step {trained.step:,}, fp32{tokenizer}"


def _coefficient(balance_loss: float | str) -> float:
    try:
        coefficient = float(balance_loss)
    except ValueError:
        raise UserError(f"balance-loss: expected a number such as 0.01, found {brief(balance_loss)}") from None
    return check_number(coefficient, "balance-loss", above=0)
