"""Runs the test suite in several processes, each with a few of its modules, and adds up what they say.

Exploring looks through all objects of its process, again and again: for what to replace, and for functions to instrument. In a process that
has collected thousands of tests, most of the time would pass with that. Options are handed on to pytest.

    python tests/suite.py [--workers N] [OPTION …]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOGETHER = 6
"""Modules in one process: starting it takes a second."""
SLOWEST = ("test_opcode_oracle.py", "test_scenarios.py", "test_random_state.py", "test_sqlite_oracle.py")
"""Modules that begin first, each alone: with the long tests they take minutes, for which nothing else should have to wait at the end."""
NOTHING = 5
"""Pytest's exit status where no test is chosen."""


def groups() -> list[list[str]]:
    """Return the modules of the suite, a few together, those of one folder apart from each other."""
    folder = ROOT / "tests"
    paths = sorted(path for path in folder.rglob("test_*.py") if not {"upstream", "golden"} & set(path.relative_to(folder).parts))
    modules = [str(path.relative_to(ROOT)) for path in paths if path.name not in SLOWEST]
    number = -(-len(modules) // TOGETHER)
    alone = [[str(path.relative_to(ROOT))] for path in paths if path.name in SLOWEST]
    return alone + [modules[first::number] for first in range(number)]


def run(modules: Sequence[str], options: Sequence[str]) -> tuple[int, str]:
    """Run these modules' tests in a process of their own; return pytest's exit status and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", *options, *modules]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace").rstrip()


def main() -> int:
    """Run all; return the worst exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    chosen, options = parser.parse_known_args()
    began = time.monotonic()
    counted: Counter[str] = Counter()
    statuses: list[int] = []
    with ThreadPoolExecutor(chosen.workers) as pool:
        started = {pool.submit(run, modules, options): modules for modules in groups()}
        for done in as_completed(started):
            status, said = done.result()
            statuses.append(status)
            last = said.rpartition("\n")[2]
            names = ", ".join(Path(module).stem.removeprefix("test_") for module in started[done])
            print(f"{last if status in (0, NOTHING) else said}: {names}", flush=True)
            for number, what in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|deselected)", last):
                counted[what] += int(number)
    print(", ".join(f"{number:,} {what}" for what, number in counted.items()), f"in {time.monotonic() - began:.0f} s")
    return max((status for status in statuses if status != NOTHING), default=NOTHING)


if __name__ == "__main__":
    sys.exit(main())
