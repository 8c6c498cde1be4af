"""Collapsed routing: by brute force over loads, as a warning while a run trains, and as a finding of its folder."""

import random
from pathlib import Path
from typing import Any

import pytest

from moewright.architecture.spec import Architecture
from moewright.experiment.collecting.collection import collect
from moewright.experiment.metrics import RoutingMetrics
from moewright.experiment.recipe import Recipe
from moewright.experiment.routing_health import CollapseWatch, collapsed
from tests.lab import tiny

torch = pytest.importorskip("torch")


def model(count: int, top_k: int) -> Architecture:
    """Two layers of so many experts."""
    plain = tiny.architecture()
    feed_forward = plain["layers"][0]["layers"][0]["feed_forward"]
    feed_forward["groups"] = [{"count": count, "expert_size": 24, "top_k": top_k}]
    return Architecture.from_dict(plain)


def metrics(layers: list[list[int]]) -> RoutingMetrics:
    """Of the loads of each layer's experts."""
    return RoutingMetrics(
        max_violation=tuple(max(loads) * len(loads) / sum(loads) - 1 for loads in layers),
        dead_experts=tuple(loads.count(0) for loads in layers),
    )


def test_it_is_what_the_loads_say() -> None:
    """400 random loads of two layers."""
    r = random.Random(8)
    seen = {True: 0, False: 0}
    for _ in range(400):
        count, tokens = r.choice((4, 8, 16)), r.choice((40, 200))
        top_k = r.randint(1, count // 2)
        layers = []
        for _ in range(2):
            favourites = [r.random() ** r.choice((0.2, 1, 8)) + 1e-9 for _ in range(count)]
            loads = [0] * count
            for _ in range(tokens):
                order = sorted(range(count), key=lambda e: -(r.random() ** (1 / favourites[e])))
                for expert in order[:top_k]:
                    loads[expert] += 1
            layers.append(loads)
        if any(2 * max(loads) == tokens for loads in layers):  # a half of what was rounded is on either side
            continue
        wanted = {
            (n, "dead_experts") for n, loads in enumerate(layers, 1) if 0 in loads and tokens * top_k / count >= 20
        }
        wanted |= {
            (n, "max_violation")
            for n, loads in enumerate(layers, 1)
            if max(loads) >= tokens / 2 and max(loads) >= 2 * tokens * top_k / count
        }
        found = {(each.layer, each.measure) for each in collapsed(metrics(layers), model(count, top_k), tokens)}
        assert found == wanted, (layers, top_k)
        seen[bool(found)] += 1
    assert min(seen.values()) > 50


def test_what_goes_away_is_not_said_and_what_stays_is_said_once() -> None:
    watch = CollapseWatch(model(8, 2), 128)
    even, dead = metrics([[32] * 8] * 2), metrics([[32] * 8, [0, 34, *[37] * 6]])
    said = [list(watch.warnings(each)) for each in [*[dead] * 4, even, *[dead] * 9]]
    assert [len(each) for each in said] == [0] * 9 + [1] + [0] * 4
    assert said[9][0].startswith(
        "routing has collapsed for 5 logged steps: layer 2 with experts: 1 expert is chosen by no token of 128; add a"
    )


@pytest.mark.usefixtures("quick")
def test_a_run_warns_and_its_folder_has_the_finding(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All tokens choose the first two of four experts, whatever the scores."""
    from moewright.lab.model.router import RouterLayer
    from moewright.lab.training import train

    recipe = Recipe.from_dict(tiny.recipe(data, 6, balancing={}))
    train(recipe, tmp_path / "runs" / "healthy", show=False)
    assert "collapsed" not in capsys.readouterr().err
    choose = RouterLayer._choose
    favour = torch.tensor([9.0, 9.0, 0.0, 0.0])
    monkeypatch.setattr(RouterLayer, "_choose", lambda self, ranks, forced: choose(self, ranks + favour, forced))
    train(recipe, tmp_path / "runs" / "collapsed", show=False)
    said = capsys.readouterr().err
    assert said.count("warning: step 5: routing has collapsed") == said.count("warning:") == 4
    assert "2 experts are chosen by no token of 128" in said
    assert "one expert takes 100% of the tokens, 2 times its even share" in said
    found = {(each.run_id, each.column) for each in collect(tmp_path / "runs").findings if each.problem == "collapsed"}
    assert found == {("collapsed", "dead_experts"), ("collapsed", "max_violation")}
