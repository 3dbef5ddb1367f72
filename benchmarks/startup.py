"""How long `import simharness` takes, and entering a simulation, in a small process and beside pytest and Hypothesis.

Each figure is the median over fresh processes (min–max), in processor seconds, which other programs disturb less than those that
pass. The modules' byte code is cached, as it is after the first import of what is installed.

    python benchmarks/startup.py [PROCESSES]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIMED = (
    "import sys, time; sys.path.insert(0, {root!r}); clock = time.process_time; {before}; began = clock(); {what}; print(clock() - began)"
)
ENTER = "exec('with control.installed(): pass')"
FIGURES = (
    ("import simharness", "pass", "import simharness", 0.1),
    ("enter and leave, small process", "from simharness.runtimes import control", ENTER, None),
    (
        "enter and leave, with pytest and Hypothesis",
        "import pytest, hypothesis, hypothesis.stateful, _pytest.assertion.rewrite; from simharness.runtimes import control",
        ENTER,
        None,
    ),
)


def seconds(before: str, what: str, cache: str) -> float:
    """Time `what` in a fresh process, after `before`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    code = TIMED.format(root=str(ROOT), before=before, what=what)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def main(processes: int) -> int:
    off = 0
    for name, before, what, target in FIGURES:
        with tempfile.TemporaryDirectory() as cache:
            seconds(before, what, cache)
            found = [seconds(before, what, cache) for _ in range(processes)]
        middle = statistics.median(found)
        wanted = f"; target ≤ {target * 1000:.0f} ms" if target is not None else ""
        off += target is not None and middle > target
        print(f"{name:46} {middle * 1000:6.1f} ms  ({min(found) * 1000:.1f}–{max(found) * 1000:.1f}{wanted})")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
