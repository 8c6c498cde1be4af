"""Which designs another beats, by boxes, against holding each against each; and spaces that leave too many open."""

import re
from typing import Any

import numpy as np
import pytest

import moewright
from moewright.designs import dominance, undecided
from moewright.designs.candidates import Candidates
from moewright.designs.dominance import BRANCHES, LEAF, beaten_by_another, front
from moewright.designs.hearing import BEATS_BY
from moewright.designs.space import Space
from moewright.errors import UserError
from moewright.laws.variable import Array

SPACE = Space(widths=(1536, 2048, 2560), experts=(48, 64, 96, 128), top_k=(4, 6, 8), expert_size_step=4)


@pytest.mark.parametrize("designs", [0, 1, LEAF, LEAF + 1, LEAF * BRANCHES, 3000])
@pytest.mark.parametrize("readings", [1, 2, 9])
def test_boxes_find_what_holding_each_against_each_finds(readings: int, designs: int) -> None:
    """Losses from a rim some margins thick, some of them alike, some exactly a margin apart."""
    r = np.random.default_rng(designs + readings)
    sizes = r.uniform(-1, 1, (readings, designs))
    losses = 2 + 0.01 * (sizes - sizes.mean(axis=0)) + r.choice([0, 0.5, 1, 1.5, 2], designs) * BEATS_BY
    losses[:, ::3] = np.round(losses[:, ::3], 3)
    beats = np.ones((designs, designs), dtype=bool)
    for of_reading in losses:
        beats &= of_reading[:, None] + BEATS_BY < of_reading
    expected = beats.any(axis=0)
    assert beaten_by_another(losses).tolist() == expected.tolist()
    if designs >= LEAF * BRANCHES:
        assert 0 < expected.sum() < designs
        losses[0, ::50] = np.nan
        unknown = np.isnan(losses).any(axis=0)
        beats[unknown] = beats[:, unknown] = False
        assert beaten_by_another(losses).tolist() == beats.any(axis=0).tolist()


@pytest.mark.parametrize("few", [0, 10**9])
@pytest.mark.parametrize("designs", [0, 1, LEAF + 1, 2500])
@pytest.mark.parametrize("readings", [1, 2, 6])
def test_the_front_is_what_holding_each_against_each_leaves(
    readings: int, designs: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In boxes and one by one: losses in steps, so that many are as good in a reading and some in all."""
    monkeypatch.setattr(dominance, "FEW", few)
    r = np.random.default_rng(7 * designs + readings)
    sizes = r.uniform(-1, 1, (readings, designs))
    losses = np.round(2 + sizes - sizes.mean(axis=0) * r.choice([0.6, 1.0], designs), 2)
    no_worse = (losses[:, :, None] <= losses[:, None, :]).all(axis=0)
    alike = no_worse & no_worse.T
    lost = (no_worse & ~alike).any(axis=0) | np.triu(alike, 1).any(axis=0)  # of those alike the first is left
    found = front(losses)
    assert sorted(found.tolist()) == np.flatnonzero(~lost).tolist()
    assert (np.diff(losses[:, found].sum(axis=0)) >= 0).all()


def test_a_space_that_leaves_too_many_open_says_what_to_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that it names is coarse enough, and the number that it expects is about that of the whole search."""
    budgets: dict[str, Any] = {"memory": "80GB", "active_params": "3B", "train_tokens": "2T"}
    searched: list[int] = []
    kept = undecided.unbeaten

    def counted(designs: Candidates, losses: Array) -> undecided.Undecided:
        searched.append(len(designs))
        return kept(designs, losses)

    monkeypatch.setattr(undecided, "unbeaten", counted)
    moewright.design(**budgets, space=SPACE)
    monkeypatch.setattr(undecided, "MOST_OPEN", searched[0] * 9 // 20)
    monkeypatch.setattr(undecided, "DESIGNS_AT_ONCE", 20_000)
    with pytest.raises(UserError) as refusal:
        moewright.design(**budgets, space=SPACE)
    said = re.search(
        r"some ([\d.]+)K designs .* take expert_size_step (\d+) \(it is 4\), every fourth", str(refusal.value)
    )
    assert said is not None, str(refusal.value)
    assert 1000 * float(said[1]) == pytest.approx(searched[0], rel=0.5)
    assert int(said[2]) == 16
    moewright.design(**budgets, space=SPACE.model_copy(update={"expert_size_step": 16}))
