"""Where the time of an exploration goes: the share of each part, measured by `cProfile`.

A profiler exaggerates the cost of Python calls compared with SQLite and other code in C.

    python benchmarks/shares.py
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from benchmarks.store_workload import contenders
from simharness.authoring.loading import load
from simharness.runtimes import control
from tests.programs import Stage, readers

ALONE = simharness.Settings(confirm=False)
"""Without confirming: waiting for another process would count as time here."""
ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "simharness/runtimes/sqlite": "SQLite runtime",
    "simharness/runtimes/memory": "shared memory",
    "simharness/instrument/": "shared memory",
    "simharness/runtimes/": "other runtimes (locks, clock, random numbers)",
    "simharness/search/": "races, wakeup trees",
    "simharness/engine/": "kernel",
    "simharness/places.py": "kernel",
    "simharness/": "explorer, world",
}


def part_of(file: str, function: str) -> str:
    """Return which part a function belongs to, by its file; functions in C have none."""
    if file == "~":
        if "sqlite3." in function or "<function Sim" in function:  # the names of genuine methods that a subclass overrides
            return "SQLite itself"
        return "collecting garbage" if "gc." in function else "builtins"
    try:
        name = Path(file).relative_to(ROOT).as_posix()
    except ValueError:
        return "the program and the library"
    return next((part for prefix, part in PARTS.items() if name.startswith(prefix)), "the program and the library")


def shares(explore: Callable[[], Any]) -> Counter[str]:
    """Return the share of each part in percent."""
    explore()
    profile = cProfile.Profile()
    profile.runcall(explore)
    seconds_of: Counter[str] = Counter()
    stats: Any = pstats.Stats(profile)
    for (file, _, function), (_, _, seconds, _, _) in stats.stats.items():
        seconds_of[part_of(file, function)] += seconds
    whole = sum(seconds_of.values())
    return Counter({part: 100 * seconds / whole for part, seconds in seconds_of.items()})


def main() -> None:
    fork = load(f"{ROOT / 'scenarios' / 'compression_fork.py'}::three_contenders")[0]
    faults = load(f"{ROOT / 'scenarios' / 'compression_fork.py'}::under_faults")[0]
    fenced = {"protocol": "fenced", "property": "one_compression_child"}
    columns = {
        "store, 4 contenders": lambda: simharness.explore(contenders(4, "inside"), "dpor", settings=ALONE),
        "three_contenders, fenced": lambda: simharness.explore(fork, "dpor", parameters=fenced, settings=ALONE),
        "under_faults, fenced, db_error=1": lambda: simharness.explore(
            faults, parameters={**fenced, "faults": "db_error=1"}, settings=ALONE
        ),
        "readers(13)": lambda: simharness.explore(lambda world: readers(Stage(world), 13), "dpor", settings=ALONE),
    }
    with control.installed():
        results = {name: shares(explore) for name, explore in columns.items()}
    for name, parts in results.items():
        print(f"{name}: " + ", ".join(f"{part} {share:.0f} %" for part, share in parts.most_common() if share >= 0.5))


if __name__ == "__main__":
    main()
