"""How many processors are ours, from made-up machines: affinity, control groups of both versions, and load.

What control groups grant is compared with a walk written apart from the module: the least of all limits on the way from
the top of the mount to the process's group.
"""

import os
import random
import time
from functools import partial
from pathlib import Path

import pytest

from moewright.processors import Processors, allowed_processors, idle_processors, processors, quota

V1_TOP, V2_TOP = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_later(path: Path, text: str, seconds: float) -> None:
    """What the kernel does while one waits."""
    write(path, text)


def machine(root: Path, *, version: int, group: str, limits: dict[str, tuple[int, int] | None], top: str = "/") -> None:
    """A /proc and a tree of control groups. `limits`: quota and period in microseconds, by path below the top."""
    inside = f"{top.rstrip('/')}{group}" or "/"
    if version == 2:
        write(root / "proc/self/cgroup", f"0::{inside}\n")
        mount = f"30 23 0:26 {top} /{V2_TOP} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    else:
        write(root / "proc/self/cgroup", f"5:memory:/elsewhere\n4:cpu,cpuacct:{inside}\n0::/ignored\n")
        mount = (
            f"35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            f"32 31 0:29 {top} /{V1_TOP} rw shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
        )
    write(root / "proc/self/mountinfo", f"23 1 254:0 / / rw - ext4 /dev/vda rw\n{mount}")
    for path, limit in limits.items():
        folder = root / (V2_TOP if version == 2 else V1_TOP) / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        if version == 2:
            write(folder / "cpu.max", "max 100000\n" if limit is None else f"{limit[0]} {limit[1]}\n")
        else:
            write(folder / "cpu.cfs_quota_us", "-1\n" if limit is None else f"{limit[0]}\n")
            write(folder / "cpu.cfs_period_us", f"{100000 if limit is None else limit[1]}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_quota_is_the_least_on_the_way_up(version: int, tmp_path: Path) -> None:
    """200 random trees: depth, limits, mounts whose top is the container's own group."""
    draw = random.Random(version)
    for case in range(200):
        names = [draw.choice("abc") for _ in range(draw.randint(0, 4))]
        ways = ["/" + "/".join(names[:depth]) for depth in range(len(names) + 1)]
        limits = {
            way: draw.choice([None, (draw.randint(1, 40) * 10_000, draw.choice([50_000, 100_000]))]) for way in ways
        }
        root = tmp_path / str(case)
        group = "/" + "/".join(names) if names else ""
        machine(root, version=version, group=group, limits=limits, top=draw.choice(["/", "/docker/0af3"]))
        machine_beside = root / (V2_TOP if version == 2 else V1_TOP) / "beside"
        machine_beside.mkdir(parents=True)
        write(machine_beside / ("cpu.max" if version == 2 else "cpu.cfs_quota_us"), "1000 100000\n")
        expected = min((limit[0] / limit[1] for limit in limits.values() if limit is not None), default=None)
        assert quota(root) == expected, limits


@pytest.mark.parametrize(
    ("cgroup", "mounts"),
    [
        (None, None),
        ("", ""),
        ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),  # no cpu.max: the controller is off
        ("nonsense\n", "nonsense - \n - \n"),
        ("1:cpu\n0:\n", "1 2 3 / /sys/fs/cgroup rw - cgroup2 x rw\n"),
    ],
)
def test_without_control_groups_nothing_is_limited(cgroup: str | None, mounts: str | None, tmp_path: Path) -> None:
    if cgroup is not None and mounts is not None:
        write(tmp_path / "proc/self/cgroup", cgroup)
        write(tmp_path / "proc/self/mountinfo", mounts)
    assert quota(tmp_path) is None
    assert processors(tmp_path).granted == processors(tmp_path).allowed


@pytest.mark.parametrize("text", ["", "max", "x y", "0 100000", "-5 100000", "5 0", "max max", "1 2 3"])
def test_a_limit_that_makes_no_sense_is_none(text: str, tmp_path: Path) -> None:
    machine(tmp_path, version=2, group="/a", limits={"/": (300_000, 100_000), "/a": None})
    write(tmp_path / V2_TOP / "a/cpu.max", text)
    assert quota(tmp_path) == 3.0


@pytest.mark.parametrize(
    ("allowed", "limit", "granted"), [(8, None, 8), (8, 2.0, 2), (8, 2.9, 2), (8, 0.5, 1), (2, 6.0, 2), (1, None, 1)]
)
def test_granted_is_the_whole_part_of_the_smaller(allowed: int, limit: float | None, granted: int) -> None:
    assert Processors(allowed, limit).granted == granted


def test_affinity_is_asked_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 3}, raising=False)
    assert allowed_processors() == [3, 5]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert allowed_processors() == list(range(os.cpu_count() or 1))


def test_idle_counts_the_ticks_of_our_own_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 random machines; only ours count, what a hypervisor took is work, and what this process does is not."""
    draw = random.Random(3)
    for _ in range(200):
        number = draw.randint(1, 12)
        allowed = draw.sample(range(number), draw.randint(1, number))
        busy = {one: draw.choice([0, 25, draw.randint(0, 25)]) for one in range(number)}
        before = {one: [draw.randint(0, 10**6) for _ in range(8)] for one in range(number)}

        def stat(values: dict[int, list[int]]) -> str:
            rows = [f"cpu{one} {' '.join(map(str, ticks))} 0 0" for one, ticks in values.items()]
            return "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, "intr 5 0 0", "ctxt 7"]) + "\n"

        after = {}
        for one, ticks in before.items():
            kinds = draw.choices([0, 1, 2, 5, 6, 7], k=busy[one]) + draw.choices([3, 4], k=25 - busy[one])
            after[one] = [value + kinds.count(kind) for kind, value in enumerate(ticks)]
        write(tmp_path / "proc/stat", stat(before))
        limit = draw.choice([None, 1.5, 4.0])
        found = Processors(len(allowed), limit)
        own = draw.choice([0, draw.randint(0, sum(busy[one] for one in allowed))])
        seconds = iter([1.0, 1.0 + own / os.sysconf("SC_CLK_TCK")])
        monkeypatch.setattr(time, "process_time", lambda seconds=seconds: next(seconds))
        idle = idle_processors(found, allowed, tmp_path, partial(write_later, tmp_path / "proc/stat", stat(after)))
        free = sum(1 - busy[one] / 25 for one in allowed) + own / 25
        assert 1 <= idle <= found.granted
        assert abs(idle - max(1, min(found.granted, free))) <= 0.5 + 1e-9


def test_a_system_that_does_not_tell_is_taken_for_idle(tmp_path: Path) -> None:
    assert idle_processors(Processors(4), range(4), tmp_path, lambda seconds: None) == 4
