"""How many threads a run computes on: what its user says, what it began with, or what the machine has free. No torch.

Sums over threads round in another order when there are more or fewer, so a run keeps the number that it began with.
"""

import os
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import ConfigDict

from moewright.errors import UserError
from moewright.processors import Processors, allowed_processors, idle_processors, processors
from moewright.quantities import brief, plain_integer
from moewright.records import Count, Record, Size

STATED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which people and launchers say how many threads there shall be; torch reads them."""


Reason = Literal["stated", "begun", "default", "granted", "load"]


class ThreadChoice(Record):
    """How many threads, and why."""

    model_config = ConfigDict(extra="ignore")  # it stands in lines of metrics too, where what is newer is passed over

    threads: Size
    because: Reason
    """OMP_NUM_THREADS or MKL_NUM_THREADS says so; the run began with as many; torch's default; no more processors are
    granted by affinity and control groups; others are at work on the rest."""
    processors: Size
    """That the process may run on."""
    quota: float | None
    """Processors' worth of time that control groups grant. None: no limit."""
    idle: Count | None
    """Of the processors granted, how many others left free at that moment. None: nobody looked."""
    warning: str | None = None
    """What the user should know of it."""


def choose_threads(
    default: int,
    begun: int | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    found: Processors | None = None,
    look: Callable[[Processors], int] | None = None,
) -> ThreadChoice:
    """For a run that now begins (`begun` None) or goes on, having begun with so many.

    `default`: the library's own number, the most that is taken unless the user says more. `found`: what may be used
    (None: ask), and `look`: how many of it are idle. Processes of one machine under a launcher share what there is.
    """
    here = processors() if found is None else found

    def chosen(threads: int, because: Reason, warning: str | None = None) -> ThreadChoice:
        told = "; ".join([*unread, *([] if warning is None else [warning])])
        return ThreadChoice(
            threads=threads, because=because, processors=here.allowed, quota=here.quota, idle=idle, warning=told or None
        )

    idle: int | None = None
    given = {name: text for name in STATED if (text := environment.get(name, "").strip())}
    stated = [name for name, text in given.items() if _is_a_number_of_threads(text)]
    unread = [f"{name} is no number of threads: {brief(text)}" for name, text in given.items() if name not in stated]
    if stated:
        warning = None
        if begun is not None and begun != default:
            warning = (
                f"the run began on {begun} threads and goes on with {default}, as {stated[0]} says: its last bits may "
                f"differ from those of an uninterrupted run; {stated[0]}={begun} keeps them"
            )
        return chosen(default, "stated", warning)
    fellows = processes_here(environment)
    granted = max(1, here.granted // fellows)
    most = min(default if begun is None else begun, granted)
    if most > 1:  # else there is nothing to choose
        idle = look(here) if look is not None else idle_processors(here, allowed_processors())
    free = most if idle is None else max(1, idle // fellows)
    if begun is not None:
        return chosen(most, "begun" if most == begun else "granted", _about_going_on(begun, most, free))
    if free < most:
        warning = (
            f"other work leaves at most {idle} of {here.granted} processors idle, so that this run computes on "
            f"{free} {'thread' if free == 1 else 'threads'}; OMP_NUM_THREADS={most} takes all"
        )
        return chosen(free, "load", warning)
    return chosen(most, "granted" if most < default else "default")


def _about_going_on(begun: int, threads: int, free: int) -> str | None:
    if threads < begun:
        return (
            f"the run began on {begun} threads and goes on with {threads}, since no more processors are granted "
            "here: its last bits may differ from those of an uninterrupted run"
        )
    if free < threads:
        return (
            f"the run goes on with the {threads} threads that it began with, so that its bits stay the same, although "
            f"other work leaves no more than {free} processors idle; OMP_NUM_THREADS={free} is faster here, and may "
            "change the last bits"
        )
    return None


def _is_a_number_of_threads(text: str) -> bool:
    """As OpenMP reads it: for nested teams a list, of which the first counts here."""
    return bool(plain_integer(text.split(",")[0].strip()))


def processes_here(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of this run on this machine, as torchrun says. UserError for what is no number of processes."""
    text = environment.get("LOCAL_WORLD_SIZE", "1").strip()
    number = plain_integer(text)
    if not number:
        raise UserError(f"LOCAL_WORLD_SIZE: {brief(text)} is no number of processes; unset it, or let torchrun set it")
    return number
