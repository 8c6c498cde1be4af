"""The backends of matrix products: measured once for all processes, and each product by the one that was chosen."""

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from moewright.experiment import run_folder
from moewright.experiment.metrics import AttemptLine, read_metrics
from moewright.experiment.product_backends import (
    BACKENDS,
    OVERRIDE,
    PRODUCT_KINDS,
    Backend,
    BackendByKind,
    ProductChoice,
    ProductRates,
    RateByKind,
)
from moewright.experiment.recipe import Recipe
from moewright.lab import machine, product_timing, training
from moewright.lab.fast import products
from moewright.lab.fast.choice import HAS_ONEDNN, SMALL, by_onednn, using_products
from tests.lab import tiny

needs_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="torch has no products of oneDNN here")


def rates(torchs: float, onednns: float = 1.0, bf16: float = 1.0) -> ProductRates:
    """The same for every kind and size."""
    by_kind = {rate: RateByKind(**dict.fromkeys(PRODUCT_KINDS, rate)) for rate in (torchs, onednns, bf16)}
    by_backend: dict[Backend, RateByKind] = {"torch": by_kind[torchs], "onednn": by_kind[onednns]}
    return ProductRates(small=by_backend, large=by_backend, large_bf16=by_kind[bf16])


class Measuring:
    """Stands for the measurement: another number each time."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.times = 0
        patch.setattr(product_timing, "_measure", self)

    def __call__(self) -> ProductRates:
        self.times += 1
        return rates(float(self.times))


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Measuring:
    """How often it was measured."""
    return Measuring(monkeypatch)


# The note


def test_processes_that_begin_at_once_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads here, whose locks are as much each other's as processes': they measure once, and all have that."""
    calls: list[int] = []

    def measure() -> ProductRates:
        calls.append(1)
        time.sleep(0.3)
        return rates(float(len(calls)))

    monkeypatch.setattr(product_timing, "_measure", measure)
    found: list[ProductRates] = []
    workers = [threading.Thread(target=lambda: found.append(product_timing.product_rates(tmp_path))) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [rates(1.0)] * 8
    assert len(calls) == 1


def test_whatever_is_damaged_is_made_anew(tmp_path: Path, measuring: Measuring) -> None:
    """40 notes that were cut or had a byte changed; and what another processor's note says is not taken."""
    product_timing.product_rates(tmp_path)
    (note,) = tmp_path.glob("*.json")
    r = random.Random(6)
    for case in range(40):
        whole = note.read_bytes()
        place = r.randrange(len(whole) - 1)
        note.write_bytes(whole[:place] if case % 2 else whole[:place] + b"#" + whole[place + 1 :])
        assert product_timing.product_rates(tmp_path) == product_timing.product_rates(tmp_path) == rates(case + 2.0)
    assert measuring.times == 41


def test_a_note_belongs_to_processor_torch_threads_and_settings(
    tmp_path: Path, measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[Any, str, Any]] = [
        (product_timing, "processor_name", lambda: "another"),
        (torch, "__version__", "0.1"),
        (torch, "get_num_threads", lambda: 17),
        (torch.backends.cpu, "get_cpu_capability", lambda: "another"),
    ]
    for times, (owner, name, value) in enumerate(changes, start=2):
        product_timing.product_rates(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            for _ in range(2):
                product_timing.product_rates(tmp_path)
        assert measuring.times == times
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    product_timing.product_rates(tmp_path)
    assert measuring.times == len(changes) + 2


def test_without_a_place_for_notes_every_process_measures(tmp_path: Path, measuring: Measuring) -> None:
    (tmp_path / "file").write_text("")
    for times in (1, 2):
        assert product_timing.product_rates(tmp_path / "file") == rates(float(times))


def test_the_note_lies_in_the_users_cache(
    tmp_path: Path, measuring: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    product_timing.product_rates()
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    product_timing.product_rates()
    assert len(list((tmp_path / "moewright").glob("*.json"))) == 1
    assert len(list((tmp_path / "home" / ".cache" / "moewright").glob("*.json"))) == 1
    assert measuring.times == 2


@pytest.mark.usefixtures("quick")
def test_all_kinds_are_measured_by_all_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SMALL", "_LARGE", "_BF16"):
        monkeypatch.setattr(product_timing, name, ((4, 8, 8),))
    found = product_timing._measure()
    assert set(found.small) == set(found.large) == set(BACKENDS if HAS_ONEDNN else BACKENDS[:1])
    assert all(rate > 0 for one in (*found.small.values(), found.large_bf16) for rate in one.to_dict().values())


# What a choice does


@needs_onednn
def test_each_product_goes_to_its_backend_and_is_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """All eight choices by kind, small or large; against float64."""
    calls: list[str] = []
    product = products._onednn

    def noting(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        calls.append("onednn")
        return product(a, b)

    monkeypatch.setattr(products, "_onednn", noting)
    generator = torch.Generator().manual_seed(1)
    for rows in (8, SMALL // 32**2):
        x, weight, grad = (torch.randn(n, 32, generator=generator) for n in (rows, 32, rows))
        wide = {
            "forward": x.double() @ weight.double().t(),
            "input_gradient": grad.double() @ weight.double(),
            "weight_gradient": grad.double().t() @ x.double(),
        }
        for case in range(8):
            by_kind = {kind: BACKENDS[case >> place & 1] for place, kind in enumerate(PRODUCT_KINDS)}
            others = BackendByKind.all("torch")
            chosen = BackendByKind(**by_kind)
            small, large = (chosen, others) if rows == 8 else (others, chosen)
            with using_products(ProductChoice(small=small, large=large, because="stated")):
                for kind, run, a, b in (
                    ("forward", products.times_transposed, x, weight),
                    ("input_gradient", products.times, grad, weight),
                    ("weight_gradient", products.transposed_times, grad, x),
                ):
                    calls.clear()
                    assert (run(a, b) - wide[kind]).abs().max() < 1e-6 * rows**0.5 * 32
                    assert calls == ["onednn"] * (getattr(chosen, kind) == "onednn"), (rows, by_kind, kind)
    calls.clear()
    products.times(grad, weight)
    assert not calls  # outside a choice


@needs_onednn
def test_the_peak_is_the_best_of_all_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SIZES", (8,))
    for fast in BACKENDS:

        def seconds(a: torch.Tensor, b: torch.Tensor, fast: str = fast) -> float:
            return 1.0 if ("onednn" if by_onednn("forward", a, 8**3) else "torch") == fast else 2.0

        monkeypatch.setattr(machine, "_least_seconds", seconds)
        assert machine.matmul_peak(torch.device("cpu"), torch.float32) == 2 * 8**3


@needs_onednn
@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_to_the_same_bits_whatever_would_be_chosen_now(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe.from_dict(tiny.recipe(data, 2))
    monkeypatch.delenv(OVERRIDE)
    monkeypatch.setattr(product_timing, "product_rates", lambda: rates(1.0, 2.0))
    training.train(recipe, tmp_path / "whole", show=False)
    with monkeypatch.context() as patch:
        tiny.interrupt_after(patch, 1)
        training.train(recipe, tmp_path / "run", show=False)
    monkeypatch.setattr(product_timing, "product_rates", lambda: rates(2.0, 1.0))
    training.train(recipe, tmp_path / "run", show=False)
    tiny.assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert "warning" not in capsys.readouterr().err
    recorded = run_folder.read_run(tmp_path / "run").provenance.machine.products
    assert recorded is not None
    assert (recorded.in_words, recorded.because, recorded.rates) == ("onednn", "measured", rates(1.0, 2.0))
    attempts = [line.products for line in read_metrics(tmp_path / "run") if isinstance(line, AttemptLine)]
    assert [(each.in_words, each.because) for each in attempts if each is not None] == [
        ("onednn", "measured"),
        ("onednn", "begun"),
    ]
    # The same run by the other backend is the same run, and has other bits: it is told when it goes on.
    with monkeypatch.context() as patch:
        tiny.interrupt_after(patch, 1)
        training.train(recipe, tmp_path / "other", show=False)
    monkeypatch.setenv(OVERRIDE, "onednn")
    training.train(recipe, tmp_path / "other", show=False)
    assert "began with the products of torch and goes on with those of onednn" in capsys.readouterr().err
    records = [json.loads((tmp_path / name / run_folder.RUN).read_text()) for name in ("run", "other")]
    assert records[0]["id"] == records[1]["id"]


@pytest.mark.usefixtures("quick")
def test_a_recipe_in_bf16_is_told_where_fp32_is_faster(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "product_rates", lambda: rates(2.0, 1.0, bf16=1.0))
    for precision in ("fp32", "bf16"):
        training.train(Recipe.from_dict(tiny.recipe(data, 1, precision=precision)), tmp_path / precision, show=False)
        assert ("fp32 is faster here" in capsys.readouterr().err) == (precision == "bf16")
