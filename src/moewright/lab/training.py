"""`moewright train`: a run from its recipe to its last checkpoint, through interruptions."""

import fcntl
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from moewright.architecture.counts import active_params, total_params, training_flops_per_token
from moewright.errors import OtherProcessError, RunStopped, UserError
from moewright.files import write_mapping
from moewright.lab import run_folder
from moewright.lab.data.dataset import Dataset, open_dataset, open_files
from moewright.lab.memory import check_memory, keep_freed_memory, peak_memory
from moewright.lab.mirrors import Mirror, flat_numbers, import_tracker, open_mirrors
from moewright.lab.progress import training_progress
from moewright.lab.provenance import provenance
from moewright.lab.recipe import Recipe
from moewright.lab.schedule import peak_learning_rate
from moewright.lab.session import Session
from moewright.lab.sharding import World, local_device, world
from moewright.lab.step import StepLosses
from moewright.lab.throughput import matmul_peak

RESUMABLE = ("log_every_steps", "mirrors", "checkpoints")
"""What a recipe may change between an interruption and its continuation: none of it touches the weights."""
PATIENCE = 20
"""Steps in a row, after the warm-up, that may be worse than guessing every token alike before a run has diverged."""


@dataclass(frozen=True)
class Plan:
    """What a recipe comes to, before anything is allocated."""

    recipe: Recipe
    warnings: tuple[str, ...]
    facts: dict[str, Any]
    """For people and --json: sizes, tokens, steps, learning rate, FLOPs, memory."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    state: str
    """finished, or interrupted."""
    step: int
    tokens: int
    loss: float | None
    """The last validation loss, dropless, in nats per token."""
    summary: dict[str, Any]
    is_first: bool = True
    """Whether this is the process that writes and prints, of several."""


def plan(source: Recipe | str | Path, processes: int = 1) -> Plan:
    """Check a recipe with its data, and count what it will take. Raises UserError for what cannot be trained."""
    recipe = source if isinstance(source, Recipe) else Recipe.load(source)
    dataset = _open_data(recipe)
    return _plan(recipe, dataset, processes, local_device())


def _plan(recipe: Recipe, dataset: Dataset, processes: int, device: torch.device) -> Plan:
    architecture = recipe.architecture
    notes = list(recipe.warnings)
    if dataset.vocab_size > architecture.vocab_size:
        raise UserError(
            f"data: its vocabulary of {dataset.vocab_size:,} does not fit the architecture's vocab_size "
            f"{architecture.vocab_size:,}"
        )
    if dataset.vocab_size < architecture.vocab_size:
        notes.append(f"vocab_size {architecture.vocab_size:,} is more than the data's {dataset.vocab_size:,} tokens")
    if recipe.document_mask and dataset.end_of_document is None:
        raise UserError("document_mask: the data does not say which token ends a document; set end_of_document")
    if recipe.batch_sequences % (processes * recipe.micro_batch_sequences):
        raise UserError(
            f"batch_tokens: {recipe.batch_sequences} sequences do not divide among {processes} processes with "
            f"micro_batch_sequences {recipe.micro_batch_sequences}"
        )
    for name in recipe.mirrors:
        import_tracker(name)
    expected = check_memory(recipe, device, processes)
    epochs = recipe.train_tokens / len(dataset.train)
    if epochs > 1:
        notes.append(f"the run goes {epochs:.2f} times through its {len(dataset.train):,} training tokens")
    facts = {
        "total_params": total_params(architecture),
        "active_params": active_params(architecture),
        "train_tokens": recipe.train_tokens,
        "epochs": epochs,
        "steps": recipe.total_steps,
        "peak_learning_rate": peak_learning_rate(recipe),
        "train_flops": recipe.train_tokens * training_flops_per_token(architecture, recipe.sequence_length),
        "expected_memory_bytes": {
            "total": float(expected.total),
            **{name: float(value) for name, value in vars(expected).items()},
        },
    }
    return Plan(recipe, tuple(notes), facts)


def _open_data(recipe: Recipe) -> Dataset:
    data = recipe.data
    if isinstance(data, str):
        return open_dataset(data)
    return open_files(data.train, data.validation, data.vocab_size, data.dtype, data.end_of_document)


def train(source: Recipe | str | Path, out: str | Path, *, show: bool = True) -> Result:
    """Train a recipe in a run folder: a new one, or one that the same recipe began, which then continues exactly.

    `show`: draw progress if standard error is a terminal. Under torchrun every process calls this. An interruption
    (Ctrl-C, SIGTERM) ends with a checkpoint. Raises UserError for bad input, and RunStopped, after which the last
    checkpoint is still there, for a run that diverged or a disk that is full. Of several processes only one raises
    these, the others OtherProcessError.
    """
    folder = Path(out)
    keep_freed_memory()
    with world() as members, ExitStack() as stack:
        if members.device.type == "cuda":  # on processors the operators in use are deterministic anyway
            torch.use_deterministic_algorithms(True, warn_only=True)
        with members.together():
            recipe = source if isinstance(source, Recipe) else Recipe.load(source)
            dataset = _open_data(recipe)
            planned = _plan(recipe, dataset, members.size, members.device)
            if members.is_first:
                stack.enter_context(_lock(folder))
                try:
                    _begin(folder, planned, dataset, members)
                except OSError as error:
                    raise RunStopped(f"{folder} cannot be written: {error.strerror or error}") from None
        if members.is_first and show:
            for note in planned.warnings:
                print(f"warning: {note}", file=sys.stderr)
        status = run_folder.read_status(folder)
        if status.get("state") == "finished":
            loss = status.get("loss")
            return Result(folder, "finished", status["step"], status["tokens"], loss, status, members.is_first)
        with members.together():  # all have the same files before them, and fail alike
            session = Session(recipe, dataset, members)
            found = run_folder.checkpoints(folder)
            if found:
                session.restore(found[-1])
        training = _Training(session, folder, planned, resumed=bool(found), show=show)
        training.loss = status.get("loss")
        return training.run()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the run folder: two trainers would write over each other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"out: {folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise UserError(f"out: another process is training in {folder}") from None
    try:
        yield
    finally:
        os.close(handle)


def _begin(folder: Path, planned: Plan, dataset: Dataset, members: World) -> None:
    """Write a new run's description, or check that the folder's run is this one."""
    recipe = planned.recipe.to_dict()
    if (folder / run_folder.RUN).exists():
        before = run_folder.read_run(folder)
        changed = _first_difference(before["recipe"], recipe)
        if changed is not None:
            raise UserError(
                f"out: {folder} holds a run of another recipe, which differs in {changed}; name a new folder"
            )
        if before["data"]["fingerprint"] != dataset.fingerprint:
            raise UserError(f"out: {folder} was begun on other tokens than {planned.recipe.data} holds now")
        if not (folder / "architecture.yaml").exists():
            planned.recipe.architecture.save(folder / "architecture.yaml")
        if run_folder.read_status(folder).get("state") == "diverged":
            raise UserError(f"out: the run in {folder} diverged; change the recipe and name a new folder")
        return
    # A process that was killed while it wrote run.json leaves its lock and a hidden file behind.
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError(f"out: {folder} is not empty and holds no run; name a new folder")
    write_mapping(
        folder / run_folder.RUN,
        {
            "format": "moewright-run/1",
            "recipe": recipe,
            "facts": planned.facts,
            "warnings": list(planned.warnings),
            "data": {"fingerprint": dataset.fingerprint, "train_tokens": len(dataset.train)},
            "tokenizer": None if dataset.tokenizer is None else str(dataset.tokenizer),
            "end_of_document": dataset.end_of_document,
            "processes": members.size,
            "device": members.device.type,
            "provenance": provenance(),
        },
    )
    planned.recipe.architecture.save(folder / "architecture.yaml")


def _first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    for key in {**before, **now}:
        if key not in RESUMABLE and before.get(key) != now.get(key):
            inner = (before.get(key), now.get(key))
            if all(isinstance(value, Mapping) for value in inner):
                deeper = _first_difference(*inner)  # type: ignore[arg-type]
                return f"{key}.{deeper}" if deeper else key
            return key
    return None


class _Training:
    """The loop: steps, and what happens between them."""

    def __init__(self, session: Session, folder: Path, planned: Plan, resumed: bool, show: bool):
        self.session, self.folder, self.planned, self.resumed = session, folder, planned, resumed
        self.recipe, self.members = session.recipe, session.members
        self.show = show and self.members.is_first
        self.flops_per_token = training_flops_per_token(self.recipe.architecture, self.recipe.sequence_length)
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
        self.peak = self.members.size * matmul_peak(self.members.device, dtype)
        self.interrupted = False
        self.failure: OSError | None = None
        """Of a line of metrics, until all processes know of it."""
        self.metrics: run_folder.MetricsFile | None = None
        self.mirror: Mirror | None = None
        self.last_saved = (time.monotonic(), session.tokens)
        self.loss: float | None = None
        self.trained_seconds, self.trained_steps = 0.0, 0

    def run(self) -> Result:
        """Until the end, or an interruption."""
        session = self.session
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            try:
                with self.members.together():
                    self._open(stack)
                show = stack.enter_context(training_progress(self.recipe, session.tokens)) if self.show else None
                self._note({"kind": "resume" if self.resumed else "start", "matmul_peak_flops": self.peak})
                while not session.is_done and not self.members.any(self.interrupted or self.failure is not None):
                    began = time.monotonic()
                    losses, norm, rate = session.next_step()
                    seconds = time.monotonic() - began
                    self.trained_seconds, self.trained_steps = self.trained_seconds + seconds, self.trained_steps + 1
                    speed = self.recipe.batch_tokens / seconds
                    self._log_step(losses, norm, rate, speed)
                    if show is not None:
                        show(session.tokens, losses.cross_entropy, speed)
                    self._watch_divergence(losses.cross_entropy)
                    self._between_steps()
                return self._finish()
            except RunStopped as stopped:
                with suppress(OSError, OtherProcessError):
                    self._end("diverged", reason=str(stopped))
                if not self.members.is_first:
                    raise OtherProcessError("the first process says what diverged") from None
                kept = run_folder.checkpoints(self.folder)
                where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
                raise RunStopped(f"{stopped}; {where}") from None
            except OSError as error:
                self._fail(error)

    def _between_steps(self) -> None:
        recipe, session = self.recipe, self.session
        if self._passed(recipe.evaluation.every_tokens) and not session.is_done:
            self._evaluate()
        due = self._passed(recipe.checkpoints.every_tokens)
        minutes = recipe.checkpoints.every_minutes
        if minutes is not None:
            due |= self.members.any(time.monotonic() - self.last_saved[0] >= 60 * minutes)
        if due and not session.is_done:
            self._save()

    def _passed(self, every: int | None) -> bool:
        """Whether the last step went past a multiple of so many tokens."""
        if every is None:
            return False
        return self.session.tokens // every > (self.session.tokens - self.recipe.batch_tokens) // every

    def _finish(self) -> Result:
        session = self.session
        self._check_metrics()
        state = "finished" if session.is_done else "interrupted"
        if session.is_done:
            self._evaluate()
        self._save()
        summary = self._end(state)
        is_first = self.members.is_first
        return Result(self.folder, state, session.step, session.tokens, self.loss, summary, is_first)

    def _end(self, state: str, **more: Any) -> dict[str, Any]:
        """Write how it ended."""
        speed = self.trained_steps * self.recipe.batch_tokens / self.trained_seconds if self.trained_seconds else None
        summary = {
            "state": state,
            "step": self.session.step,
            "tokens": self.session.tokens,
            "loss": self.loss,
            "tokens_per_second": speed,
            "mfu": None if speed is None else speed * self.flops_per_token / self.peak,
            "peak_memory_bytes": peak_memory(self.members.device),
            "expected_memory_bytes": self.planned.facts["expected_memory_bytes"]["total"],
            **more,
        }
        self._note({"kind": "end", **summary})
        self._write_status(**summary)
        return summary

    def _write_status(self, **values: Any) -> None:
        """Replace status.json."""
        self._check_metrics()
        with self.members.together():
            if self.members.is_first:
                run_folder.write_status(self.folder, **values)

    def _fail(self, error: OSError) -> NoReturn:
        """The disk is full, or gone."""
        kept = run_folder.checkpoints(self.folder)
        where = f"; the last good checkpoint is {kept[-1]}" if kept else "; there is no checkpoint yet"
        reason = f"step {self.session.step}: {self.folder} cannot be written: {error.strerror or error}{where}"
        with suppress(OSError):  # perhaps nor can this be
            run_folder.write_status(self.folder, state="failed", step=self.session.step, reason=reason)
        raise RunStopped(reason) from None

    def _watch_divergence(self, cross_entropy: float) -> None:
        session, recipe = self.session, self.recipe
        guess = math.log(recipe.architecture.vocab_size)
        is_worse = session.tokens > recipe.schedule.warmup_tokens and cross_entropy > guess
        session.steps_worse_than_guessing = session.steps_worse_than_guessing + 1 if is_worse else 0
        if session.steps_worse_than_guessing >= PATIENCE:
            raise RunStopped(
                f"step {session.step}: for {PATIENCE} steps the loss has been above {guess:.3f} nats, which a uniform "
                "guess reaches; try a lower learning rate or a longer warm-up"
            )

    def _log_step(self, losses: StepLosses, norm: float, rate: float, speed: float) -> None:
        step = self.session.step
        if step % self.recipe.log_every_steps and not self.session.is_done and step != 1:
            return
        balancing = self.recipe.balancing
        record: dict[str, Any] = {
            "kind": "train",
            "step": step,
            "tokens": self.session.tokens,
            "loss": losses.cross_entropy,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens_per_second": speed,
            "mfu": speed * self.flops_per_token / self.peak,
        }
        if losses.totals.layers:
            record["balance_loss"] = [
                {"raw": value / each.weight, "scaled": value}
                for value, each in zip(losses.balance, balancing.losses, strict=True)
            ]
            record["z_loss"] = {"raw": losses.z / balancing.z_loss, "scaled": losses.z} if balancing.z_loss else None
            record["routing"] = losses.totals.metrics()
        self._note(record)

    def _evaluate(self) -> None:
        report = self.session.evaluate()
        self._note({"kind": "evaluation", "step": self.session.step, "tokens": self.session.tokens, **report.to_dict()})
        if not math.isfinite(report.loss):
            raise RunStopped(f"step {self.session.step}: the validation loss is not finite")
        self.loss = report.loss

    def _check_metrics(self) -> None:
        """Raise what kept the first process from writing metrics: no checkpoint may be newer than they are."""
        with self.members.together():
            if self.failure is not None:
                raise self.failure

    def _save(self) -> None:
        self._check_metrics()
        self.session.save(self.folder)
        self.last_saved = (time.monotonic(), self.session.tokens)
        self._note({"kind": "checkpoint", "step": self.session.step, "tokens": self.session.tokens})
        self._write_status(state="running", step=self.session.step, tokens=self.session.tokens, loss=self.loss)

    def _note(self, record: dict[str, Any]) -> None:
        """One line of metrics, and to the mirrors."""
        if self.metrics is None:
            return
        try:
            self.metrics.write({**record, "time": time.time()})
        except OSError as error:
            self.failure = error
            return
        if self.mirror is not None and record["kind"] in ("train", "evaluation"):
            self.mirror(flat_numbers(record, f"{record['kind']}/"), record["step"])

    def _open(self, stack: ExitStack) -> None:
        """Where the metrics go; in the first process only."""
        if not self.members.is_first:
            return
        self.metrics = run_folder.MetricsFile(self.folder / run_folder.METRICS)
        stack.callback(self.metrics.close)
        if self.recipe.mirrors:
            self.mirror = open_mirrors(self.recipe.mirrors, self.folder.resolve().name, self.recipe.to_dict())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the step under way, with a checkpoint; a second one ends it at once."""

        def interrupt(signum: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                before[name] = signal.signal(name, interrupt)
        except ValueError:  # not the main thread: its owner handles signals
            pass
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
