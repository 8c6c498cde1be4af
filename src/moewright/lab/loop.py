"""The loop of a run: steps, what happens between them, and what is told of them."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch

from moewright.architecture.counts import trained_flops_per_token
from moewright.errors import OtherProcessError, RunStopped
from moewright.experiment import run_folder
from moewright.experiment.metrics import (
    AnyLine,
    AttemptLine,
    AuxiliaryLoss,
    CheckpointLine,
    EndLine,
    EvaluationLine,
    TrainLine,
)
from moewright.experiment.mirrors import Mirror, flat_numbers, open_mirrors
from moewright.experiment.planning import RunPlan
from moewright.experiment.product_backends import ProductChoice
from moewright.experiment.routing_health import CollapseWatch
from moewright.experiment.run_folder import METRICS, STATUS, FileStamp, Outcome, RunStatus, TrainingResult
from moewright.experiment.threads import ThreadChoice
from moewright.files import AppendOnlyFile
from moewright.foreign_text import visible
from moewright.lab.losses import StepLosses
from moewright.lab.machine import matmul_peak, peak_memory
from moewright.lab.session import Session
from moewright.progress import ProgressTask, hiding_progress, progress_task
from moewright.quantities import format_count
from moewright.signals import ENDINGS, Interrupted, handling

PATIENCE = 20
"""Steps in a row, after the warm-up, that may be worse than guessing every token alike before a run has diverged."""


class TrainingLoop:
    """A session under way in its folder."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        planned: RunPlan,
        threads: ThreadChoice,
        products: ProductChoice | None,
        *,
        resumed: bool,
    ):
        self.session, self.folder, self.planned = session, folder, planned
        self.threads, self.products = threads, products
        self.resumed = resumed
        self.recipe, self.members = session.recipe, session.members
        sizes = self.recipe.architecture, self.recipe.sequence_length
        self.flops_per_token = trained_flops_per_token(*sizes)
        dtype = torch.bfloat16 if self.recipe.precision == "bf16" else torch.float32
        self.peak = self.members.size * matmul_peak(self.members.device, dtype)
        self.routing_watch = CollapseWatch(self.recipe.architecture, self.recipe.batch_tokens)
        self.stopped_by: int | None = None
        """The signal that ends the run."""
        self.failure: OSError | None = None
        """Of a line of metrics, until all processes know of it."""
        self.metrics: AppendOnlyFile | None = None
        self.mirror: Mirror | None = None
        self.last_saved = (time.monotonic(), session.tokens)
        self.loss: float | None = None
        self.trained_seconds, self.trained_steps = 0.0, 0

    @property
    def _is_to_stop(self) -> bool:
        """Whether this process heard a signal or could not write."""
        return self.stopped_by is not None or self.failure is not None

    def run(self) -> TrainingResult:
        """Until the end, or an interruption."""
        session = self.session
        with ExitStack() as stack:
            stack.enter_context(self._signals())
            try:
                with self.members.together():
                    self._open(stack)
                progress = stack.enter_context(self._progress())
                kind: Literal["resume", "start"] = "resume" if self.resumed else "start"
                self._note(
                    AttemptLine(
                        kind=kind,
                        matmul_peak_flops=self.peak,
                        threads=self.threads,
                        products=self.products,
                        time=time.time(),
                    )
                )
                while not session.is_done and not self.members.any(self._is_to_stop):
                    began = time.monotonic()
                    losses, norm, rate = session.next_step()
                    seconds = time.monotonic() - began
                    self.trained_seconds, self.trained_steps = self.trained_seconds + seconds, self.trained_steps + 1
                    speed = self.recipe.batch_tokens / seconds
                    self._log_step(losses, norm, rate, speed)
                    progress.step(session.step, session.tokens, losses.cross_entropy, speed)
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

    def _finish(self) -> TrainingResult:
        session = self.session
        self._check_metrics()
        state: Outcome = "finished" if session.is_done else "interrupted"
        if session.is_done:
            self._evaluate()
        self._save()
        summary = self._end(state)
        is_first = self.members.is_first
        return TrainingResult(
            self.folder, state, session.step, session.tokens, self.loss, summary, is_first, self.stopped_by
        )

    def _end(self, state: Outcome, reason: str | None = None) -> RunStatus:
        """Write how it ended."""
        speed = self.trained_steps * self.recipe.batch_tokens / self.trained_seconds if self.trained_seconds else None
        status = RunStatus(
            state=state,
            step=self.session.step,
            tokens=self.session.tokens,
            loss=self.loss,
            tokens_per_second=speed,
            matmul_utilization=None if speed is None else speed * self.flops_per_token / self.peak,
            peak_memory_bytes=peak_memory(self.members.device),
            expected_memory_bytes=self.planned.facts.expected_memory_bytes.total,
            reason=reason,
            run=self.session.run,
        )
        self._note(EndLine.of(status, time.time()))
        self._write_status(status)
        return status

    def _write_status(self, status: RunStatus) -> None:
        """Replace status.json."""
        self._check_metrics()
        with self.members.together():
            if self.members.is_first:
                status.model_copy(update={"metrics": self._written()}).write(self.folder / STATUS)

    def _written(self) -> FileStamp | None:
        """The metrics up to now."""
        return None if self.metrics is None else FileStamp(bytes=self.metrics.size, sha256=self.metrics.sha256)

    def _fail(self, error: OSError) -> NoReturn:
        """The disk is full, or gone."""
        kept = run_folder.checkpoints(self.folder)
        where = f"; the last good checkpoint is {kept[-1]}" if kept else "; there is no checkpoint yet"
        reason = f"step {self.session.step}: {self.folder} cannot be written: {error.strerror or error}{where}"
        with suppress(OSError):  # perhaps nor can this be
            status = RunStatus(state="failed", step=self.session.step, reason=reason, run=self.session.run)
            status.model_copy(update={"metrics": self._written()}).write(self.folder / STATUS)
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
        if not self.session.is_logged(step):
            return
        balancing = self.recipe.balancing
        routing = losses.totals.metrics() if losses.totals.layers else None
        if routing is not None and self.members.is_first:
            for note in self.routing_watch.warnings(routing):
                print(visible(f"warning: step {step}: {note}"), file=sys.stderr)
        line = TrainLine(
            step=step,
            tokens=self.session.tokens,
            loss=losses.cross_entropy,
            learning_rate=rate,
            gradient_norm=norm,
            gradient_norms=self.session.gradient_norms,
            tokens_per_second=speed,
            matmul_utilization=speed * self.flops_per_token / self.peak,
            balance_loss=tuple(
                AuxiliaryLoss(raw=value / each.weight, scaled=value)
                for value, each in zip(losses.balance, balancing.losses, strict=True)
            ),
            z_loss=AuxiliaryLoss(raw=losses.z / balancing.z_loss, scaled=losses.z) if balancing.z_loss else None,
            prediction_loss=tuple(
                AuxiliaryLoss(raw=value * len(losses.prediction) / self.recipe.prediction_loss_weight, scaled=value)
                for value in losses.prediction
            ),
            routing=routing,
            time=time.time(),
        )
        self._note(line)

    def _evaluate(self) -> None:
        report = self.session.evaluate()
        self._note(EvaluationLine(step=self.session.step, tokens=self.session.tokens, **vars(report), time=time.time()))
        if not math.isfinite(report.loss):
            raise RunStopped(f"step {self.session.step}: the validation loss is not finite")
        self.loss = report.loss

    def _check_metrics(self) -> None:
        """Raise what kept the first process from writing metrics: no checkpoint may be newer than those on the disk."""
        with self.members.together():
            if self.failure is not None:
                raise self.failure
            if self.metrics is not None:
                self.metrics.sync()

    def _save(self) -> None:
        self._check_metrics()
        self.session.save(self.folder)
        self.last_saved = (time.monotonic(), self.session.tokens)
        step, tokens = self.session.step, self.session.tokens
        self._note(CheckpointLine(step=step, tokens=tokens, time=time.time()))
        self._write_status(RunStatus(state="running", step=step, tokens=tokens, loss=self.loss, run=self.session.run))

    def _note(self, line: AnyLine) -> None:
        """One line of metrics, and to the mirrors."""
        if self.metrics is None:
            return
        values = line.to_dict(defaults=False)
        try:
            self.metrics.write(values)
        except OSError as error:
            self.failure = error
            return
        if self.mirror is not None and isinstance(line, TrainLine | EvaluationLine):
            del values["time"]
            self.mirror(flat_numbers(values, f"{line.kind}/"), line.step)

    def _open(self, stack: ExitStack) -> None:
        """Where the metrics go; in the first process only."""
        if not self.members.is_first:
            return
        self.metrics = AppendOnlyFile(self.folder / METRICS)
        stack.callback(self.metrics.close)
        if self.recipe.mirrors:
            self.mirror = open_mirrors(self.recipe.mirrors, self.folder.resolve().name, self.recipe.to_dict())

    @contextmanager
    def _progress(self) -> Iterator["TrainingProgress"]:
        """Of several processes the first one's is shown."""
        recipe, facts, tokens = self.recipe, self.planned.facts, self.session.tokens
        sizes = (
            f"{format_count(facts.total_params)} parameters, {format_count(facts.active_params)} active; "
            f"{facts.steps:,} steps of {recipe.batch_tokens:,} tokens on {self.members.device.type}"
        )
        opening = f"{'goes on' if self.resumed else 'begins'} in {self.folder}: {sizes}"
        write = partial(format_count, digits=3)
        with (
            nullcontext() if self.members.is_first else hiding_progress(),
            progress_task("training", recipe.train_tokens, "tokens", write, done=tokens, opening=opening) as task,
        ):
            yield TrainingProgress(task)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a terminal that closes end the run after the step under way, with a checkpoint; a second
        signal ends it at once."""

        def interrupt(signum: int, frame: Any) -> None:
            if self.stopped_by is not None:
                raise Interrupted(signum)
            self.stopped_by = signum

        with handling(dict.fromkeys(ENDINGS, interrupt)):
            yield


_SMOOTHING = 0.9


class TrainingProgress:
    """A run's loss, smoothed, and its speed, told to whoever watches."""

    def __init__(self, task: ProgressTask) -> None:
        self._task = task
        self._smooth: float | None = None

    def step(self, step: int, tokens: int, loss: float, speed: float) -> None:
        """After a step: tokens so far, its loss in nats, and tokens per second."""
        before = loss if self._smooth is None else self._smooth
        self._smooth = _SMOOTHING * before + (1 - _SMOOTHING) * loss
        note = f"step {step:,}, loss {self._smooth:.3f}, {format_count(speed, 3)} tokens/s"
        self._task.reach(tokens, self._task.total, note)
