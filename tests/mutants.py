"""Breaks the engine in named places, one at a time, and says whether the tests notice. A mutant that lives is a hole in the tests.

Each mutant is a copy of the checkout with one piece of text replaced, in which a few test modules are run: the ones that ought to
notice, and that pass without it. `--all` runs the suite, with the long tests. The exit status is the number of mutants that live, or
whose text is not found.

    python tests/mutants.py [--all] [--jobs N] [NAME …]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {
    "programs": ("tests/test_reduction_regressions.py", "tests/test_known_counts.py", "tests/test_random_programs.py"),
    "faults": (
        "tests/test_faults_crash.py",
        "tests/test_faults_elsewhere.py",
        "tests/test_faults_errors.py",
        "tests/test_faults_time.py",
        "tests/test_random_faults.py",
        "tests/test_eventually.py",
    ),
    "clocks": ("tests/test_random_clocks.py",),
    "facts": ("tests/test_facts.py", "tests/test_tokens.py"),
    "kept": ("tests/runtimes/test_sqlite_reuse.py", "tests/test_random_programs.py", "tests/test_planted_bugs.py"),
    "locks": ("tests/runtimes/test_locks_made_before.py",),
    "ids": ("tests/runtimes/test_identities.py",),
    "defaults": ("tests/runtimes/test_defaults.py",),
    "determinism": ("tests/test_determinism.py",),
    "output": ("tests/test_output.py",),
    "wide": ("tests/test_wide.py",),
    "late": ("tests/test_set_up_threads.py",),
    "daemons": ("tests/test_planted_bugs.py",),
    "command": ("tests/test_cli.py",),
    "timelines": ("tests/report/test_timeline.py",),
    "templates": ("tests/test_templates.py",),
    "answers": ("tests/runtimes/test_outside.py",),
    "sql": (
        "tests/runtimes/test_sqlite.py",
        "tests/runtimes/test_sqlite_reuse.py",
        "tests/runtimes/test_sqlite_oracle.py",
        "tests/test_timed_waits.py",
        "tests/test_random_threads.py",
    ),
    "threads": (
        "tests/test_random_threads.py",
        "tests/runtimes/test_conditions.py",
        "tests/runtimes/test_queues.py",
        "tests/runtimes/test_queue_insides.py",
        "tests/test_random_queues.py",
        "tests/runtimes/test_signals.py",
    ),
    "pools": ("tests/runtimes/test_pools.py", "tests/test_random_pools.py", "tests/runtimes/test_thread_pools.py"),
    "views": ("tests/test_random_thread_views.py", "tests/runtimes/test_thread_views.py"),
    "asyncio": ("tests/test_asyncio.py", "tests/test_asyncio_orders.py"),
    "asyncio_reduction": ("tests/test_asyncio_reduction.py",),
    "trio": ("tests/test_trio_reduction.py", "tests/test_trio_unknown.py"),
    "cancellations": ("tests/test_cancellations.py",),
    "time": ("tests/runtimes/test_time.py", "tests/test_scenarios.py"),
    "verdicts": ("tests/test_never_vacuous.py", "tests/test_explore_api.py", "tests/test_planted_bugs.py"),
    "blame": ("tests/test_followed.py", "tests/test_blame.py"),
    "lost": ("tests/test_never_lost.py", "tests/test_confirmation.py"),
    "pytest": ("tests/test_pytest_plugin.py",),
    "memory": ("tests/test_halfway.py",),
    "processes": ("tests/test_process_globals.py",),
    "heap": ("tests/test_heap.py", "tests/test_heap_iterators.py", "tests/test_random_state.py"),
    "auto": ("tests/test_auto.py", "tests/test_samplers.py"),
    "proofs": ("tests/test_proofs.py",),
    "objects": ("tests/test_objects.py",),
    "outside": ("tests/outside",),
    "incidents": ("tests/incident/test_incident_kinds.py", "tests/incident/test_random_files.py", "tests/incident/test_search.py"),
    "ends": ("tests/test_long_runs.py", "tests/test_put_back.py"),
    "ended": ("tests/test_endings.py",),
    "scarce": ("tests/test_scarce.py",),
    "obstacles": ("tests/test_obstacles.py",),
    "polls": ("tests/test_polls.py", "tests/test_random_polls.py"),
    "project": ("tests/test_project.py",),
    "parallel": ("tests/test_parallel.py",),
    "checkpoints": ("tests/test_checkpoints.py",),
    "handlers": ("tests/test_handlers.py",),
    "watchdog": ("tests/test_watchdog.py",),
    "checks": ("tests/test_check.py", "tests/test_check_random.py"),
    "check_input": ("tests/test_check_input.py",),
    "anomalies": ("tests/test_anomalies.py",),
    "histories": ("tests/test_linearizability.py",),
    "races": ("tests/test_data_races.py",),
    "atomicity": ("tests/test_atomicity.py",),
    "places": ("tests/test_places_of_state.py",),
    "files": ("tests/runtimes/test_files.py", "tests/test_random_files.py"),
}
MINUTES = 20


class Mutant(NamedTuple):
    """One way to break the engine: in `file`, `old` (which occurs once) becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


def mutants() -> list[Mutant]:
    """Return all mutants, as `mutants.toml` has them."""
    with open(ROOT / "tests" / "mutants.toml", "rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def verdict(groups: Sequence[str], everything: bool, mutant: Mutant | None = None) -> tuple[int, str]:
    """Run the tests of these groups in a copy, with a mutant or as it is; return pytest's exit status and its last line."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".peers", "__pycache__", ".*_cache", ".hypothesis"))
        if mutant is not None:
            target = copy / mutant.file
            text = target.read_text()
            if text.count(mutant.old) != 1:
                return 0, f"the text to replace occurs {text.count(mutant.old)} times in {mutant.file}"
            target.write_text(text.replace(mutant.old, mutant.new))
        marks = ["-m", "long or not long"] if everything else ["--overnight"]
        tests = [] if everything else list(dict.fromkeys(name for group in groups for name in GROUPS[group]))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *marks, *tests]
        try:
            # Tests start processes elsewhere, which must import the copy, too.
            env = {**os.environ, "PYTHONPATH": str(copy)}
            done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=MINUTES * 60, check=False)
        except subprocess.TimeoutExpired:
            return 1, "no end"
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


def main() -> int:
    """Run the mutants that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="part of a mutant's name; default: all")
    parser.add_argument("--all", action="store_true", help="run the whole suite, long tests included, on each")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not options.names or any(part in mutant.name for part in options.names)]
    groups = [[group] for group in dict.fromkeys(group for mutant in chosen for group in mutant.tests)]
    alive = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for [group], (status, said) in zip(groups, pool.map(lambda tests: verdict(tests, False), groups), strict=True):
            if status:
                print(f"the tests of {group} fail without any mutant: {said}")
                return 100
        found = pool.map(lambda mutant: verdict(mutant.tests, options.all, mutant), chosen)
        for mutant, (status, said) in zip(chosen, found, strict=True):
            alive += status != 1
            print(f"{'found' if status == 1 else 'ALIVE':5}  {mutant.name}{'' if status == 1 else '  -- ' + said}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants found")
    return min(alive, 100)


if __name__ == "__main__":
    sys.exit(main())
