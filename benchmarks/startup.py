"""What simharness costs when it starts: a bare run of pytest with the plugin and without it, imports, the command line, a simulation.

Pairs first: `pytest` on one empty test with and without `-p no:simharness`, in turn; the ratio is the median of the pairs' ratios. The
other figures are medians over fresh processes (min–max). All are processor seconds, which other programs disturb less than wall-clock
time. Byte code is cached, as after the first import of installed modules; pytest loads no other plugin.

    python benchmarks/startup.py [PROCESSES]
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMED = (
    "import sys, time; sys.path.insert(0, {root!r}); clock = time.process_time; {before}; began = clock(); {what}; print(clock() - began)"
)
ENTER = "exec('with control.installed(): pass')"
FIGURES = (
    ("import simharness", "pass", "import simharness", 0.03),
    ("import simharness, and use explore", "pass", "import simharness; simharness.explore", None),
    ("import the pytest plugin, after pytest", "import pytest", "import simharness.pytest_plugin", None),
    ("enter and leave, small process", "from simharness.runtimes import control", ENTER, None),
    (
        "enter and leave, with pytest and Hypothesis",
        "import pytest, hypothesis, hypothesis.stateful, _pytest.assertion.rewrite; from simharness.runtimes import control",
        ENTER,
        None,
    ),
)
OTHERS = ("hypothesispytest", "trio", "xdist", "xdist.looponfail")
"""Plugins of the development environment, which would make the bare run slower, and so the ratio smaller."""
PYTEST = ("-m", "pytest", "-q", *(word for name in (*OTHERS, "cacheprovider") for word in ("-p", f"no:{name}")), "test_bare.py")
COMMAND = ("-c", "from simharness.cli.main import main; main()")
COMMANDS = (
    ("simharness --version", (*COMMAND, "--version")),
    ("simharness list, one file", (*COMMAND, "list", str(ROOT / "scenarios" / "tutorial.py"))),
)
MOST_RATIO = 1.05


def environment(cache: str) -> dict[str, str]:
    """Return the environment of a process that caches byte code in its own place."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS")}
    return {**kept, "PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": str(ROOT)}


def seconds(before: str, what: str, cache: str) -> float:
    """Time `what` in a fresh process, after `before`."""
    code = TIMED.format(root=str(ROOT), before=before, what=what)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment(cache))
    return float(done.stdout)


def whole(arguments: Sequence[str], folder: str, cache: str) -> float:
    """Time a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=folder, env=environment(cache))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pairs(number: int, folder: str, cache: str) -> tuple[list[float], list[float]]:
    """Run a bare pytest `number` times without the plugin and with it; which of the two is first changes each time."""
    kinds = ((*PYTEST, "-p", "no:simharness"), PYTEST)
    times: tuple[list[float], list[float]] = ([], [])
    for kind in kinds:
        whole(kind, folder, cache)
    for pair in range(number):
        for which in (0, 1) if pair % 2 else (1, 0):
            times[which].append(whole(kinds[which], folder, cache))
    return times


def line(name: str, times: Sequence[float], wanted: str = "") -> None:
    """Print a figure."""
    print(f"{name:46} {statistics.median(times) * 1000:6.1f} ms  ({min(times) * 1000:.1f}–{max(times) * 1000:.1f}{wanted})")


def main(processes: int) -> int:
    off = 0
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_bare.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        without, with_it = pairs(processes, folder, cache)
        ratio = statistics.median(after / before for before, after in zip(without, with_it, strict=True))
        line("pytest, one test, without the plugin", without)
        line("pytest, one test, with the plugin", with_it)
        print(f"{'the second / the first':46} {ratio:6.3f}     (target ≤ {MOST_RATIO})")
        off += ratio > MOST_RATIO
        for name, before, what, target in FIGURES:
            seconds(before, what, cache)
            taken = [seconds(before, what, cache) for _ in range(processes)]
            line(name, taken, f"; target ≤ {target * 1000:.0f} ms" if target is not None else "")
            off += target is not None and statistics.median(taken) > target
        for name, command in COMMANDS:
            whole(command, folder, cache)
            line(name, [whole(command, folder, cache) for _ in range(processes)])
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
