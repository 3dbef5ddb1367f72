"""The store workload under simharness and under other tools for Python, side by side, in one run.

Each tool runs in its own environment, `.peers/TOOL` (`make peers` creates those that are available), with a driver of `peer_drivers/`;
coroutine tools run a port of the contenders that yields before each store operation. The columns are: executions, distinct orderings of the
store's operations that were covered (all: 10 and 102 for two and three contenders), the tool's own verdict, seconds, and the time per
execution as a multiple of a bare run (the contenders one after the other, set-up included, same interpreter).

    python benchmarks/peers.py [SECONDS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.store import ORDERINGS

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".peers"
ROWS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("simharness", "threads", "simharness_threads", ()),
    ("frontrun", "threads, no preemption bound", "frontrun_threads", ()),
    ("frontrun", "the same, without I/O detection", "frontrun_threads", ("no-io",)),
    ("frontrun", "asyncio port, no bound", "frontrun_asyncio", ()),
    ("detangle", "asyncio port, depth first, no bound", "detangle_asyncio", ()),
)


def command(tool: str, driver: str) -> list[str] | None:
    """Return how to run a tool's driver, or None if the tool is not installed."""
    path = str(HERE / "peer_drivers" / f"{driver}.py")
    if tool == "simharness":
        return [sys.executable, path]
    python = PEERS / tool / "bin" / "python"
    if not python.exists():
        return None
    starter = [str(PEERS / tool / "bin" / "frontrun")] if driver == "frontrun_threads" else []
    return [*starter, str(python), path]


def row(tool: str, setting: str, driver: str, extra: tuple[str, ...], count: int, seconds: float) -> str:
    """Run one tool on `count` contenders; return the table's line."""
    title = f"{tool:10}  {setting:36} {count}"
    call = command(tool, driver)
    if call is None:
        return f"{title}  not installed"
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PATH": f"{PEERS / tool / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            [*call, str(count), str(seconds), *extra], capture_output=True, text=True, timeout=seconds * 3 + 60, env=environment, check=True
        )
        figures = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return f"{title}  did not end in {seconds * 3 + 60:.0f} s"
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return f"{title}  failed: {said[-1] if said else error}"
    executions = figures["executions"] or 0
    multiple = f"{figures['seconds'] / executions / figures['bare']:8.1f}" if executions else "       ?"
    coverage = f"{figures['orders']:5} of {ORDERINGS[count]:4}"
    return f"{title}  {executions:10,}  {coverage}  {figures['verdict']:12}  {figures['seconds']:8.3f}  {multiple}"


def main(seconds: float) -> int:
    print(f"{'tool':10}  {'setting':36} n  executions  orderings      verdict        seconds  × a bare run")
    for count in (2, 3):
        for tool, setting, driver, extra in ROWS:
            print(row(tool, setting, driver, extra, count, seconds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
