"""How many threads a run computes on, against the rules spelled out: 2,000 random situations."""

import random
from functools import partial

import pytest

from moewright.errors import UserError
from moewright.experiment.threads import STATED, choose_threads
from moewright.processors import Processors


def told(idle: int, found: Processors) -> int:
    return idle


def never(found: Processors) -> int:
    raise AssertionError("nobody need look")


def test_rules_in_random_situations() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        allowed = draw.randint(1, 16)
        found = Processors(allowed, draw.choice([None, None, draw.uniform(0.1, 20)]))
        default, begun = draw.randint(1, allowed), draw.choice([None, draw.randint(1, 16)])
        fellows = draw.choice([1, 1, 2, 4])
        idle = draw.randint(1, found.granted)
        environment = {"LOCAL_WORLD_SIZE": str(fellows)} | draw.choice([{}, {"OMP_NUM_THREADS": "3"}, {"HOME": "/"}])
        choice = choose_threads(default, begun, environment=environment, found=found, look=partial(told, idle))
        assert choice.threads >= 1
        if "OMP_NUM_THREADS" in environment:
            assert (choice.threads, choice.because) == (default, "stated")
            assert (choice.warning is None) == (begun in (None, default))
            continue
        share = max(1, found.granted // fellows)
        assert choice.threads <= share, "never more than is granted"
        if begun is not None:
            assert choice.threads == min(begun, share), "load decides nothing about a run that goes on"
            assert (choice.because == "begun") == (choice.threads == begun)
            assert choice.warning is not None or choice.threads == begun
        else:
            assert choice.threads == min(default, share, max(1, idle // fellows) if min(default, share) > 1 else 1)
            assert (choice.warning is None) == (choice.because != "load")


def test_nobody_looks_where_there_is_nothing_to_choose() -> None:
    for environment in ({"OMP_NUM_THREADS": "4"}, {"MKL_NUM_THREADS": "4"}):
        assert choose_threads(4, environment=environment, found=Processors(4), look=never).because == "stated"
    assert choose_threads(1, environment={}, found=Processors(4), look=never).threads == 1
    assert choose_threads(4, environment={}, found=Processors(4, 1.0), look=never).because == "granted"
    assert choose_threads(4, environment={"OMP_NUM_THREADS": " "}, found=Processors(4), look=lambda _: 4).threads == 4


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5", "²", "1e3", ",2", "0x2", "9" * 10])
@pytest.mark.parametrize("name", STATED)
def test_what_is_no_number_of_threads_is_said_and_passed_over(name: str, text: str) -> None:
    """torch and OpenMP take all processors then, as if nobody had said anything: so does the choice."""
    busy = choose_threads(4, environment={name: text}, found=Processors(4), look=lambda _: 1)
    assert (busy.threads, busy.because) == (1, "load")
    assert busy.warning is not None
    assert busy.warning.startswith(f"{name} is no number of threads: '{text}'; other work leaves at most 1 of 4")
    idle = choose_threads(4, environment={name: text}, found=Processors(4), look=lambda _: 4)
    assert (idle.threads, idle.warning) == (4, f"{name} is no number of threads: '{text}'")


def test_a_list_for_nested_teams_states_the_outer_one() -> None:
    for text in ("2,2", " 2 ", "2, 1"):
        found = choose_threads(2, environment={"OMP_NUM_THREADS": text}, found=Processors(4), look=never)
        assert (found.because, found.warning) == ("stated", None)


@pytest.mark.parametrize("text", ["0", "-1", "x", "", "2,2", "1.0", "9" * 5000])
def test_a_number_of_processes_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"LOCAL_WORLD_SIZE: .* is no number of processes"):
        choose_threads(4, environment={"LOCAL_WORLD_SIZE": text}, found=Processors(4), look=lambda _: 4)


def test_warnings_name_what_to_set() -> None:
    busy = choose_threads(4, environment={}, found=Processors(4), look=lambda _: 1)
    assert busy.warning is not None
    assert "OMP_NUM_THREADS=4" in busy.warning
    slower = choose_threads(4, 4, environment={}, found=Processors(4), look=lambda _: 1)
    assert (slower.threads, slower.because) == (4, "begun")
    assert slower.warning is not None
    assert "OMP_NUM_THREADS=1" in slower.warning
    other = choose_threads(2, 4, environment={"OMP_NUM_THREADS": "2"}, found=Processors(4), look=never)
    assert other.warning is not None
    assert "OMP_NUM_THREADS=4 keeps them" in other.warning
