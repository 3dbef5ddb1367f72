"""Peak memory of one exploration after 30,000 executions, divided by that after 3,000: shows what an execution leaves behind.

Each is a fresh process that explores `casw(5)`, which has 32,880 orderings, up to that number of executions.

    python benchmarks/memory.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import simharness
from tests.programs import Row, casw

FEW, MANY = 3_000, 30_000
TARGET = 1.1


def explore(executions: int) -> int:
    """Explore so many executions and return the peak resident memory of this process, in KiB."""
    row = Row("casw", casw, (5,), 32_880)

    def program(world: simharness.World) -> None:
        row.scenario(world)

    settings = simharness.Settings(max_executions=executions)
    result = simharness.explore(simharness.Scenario(program, allow_deadlock=True), settings=settings)
    assert result.executions == executions
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def peak_of(executions: int) -> int:
    """Return the peak of a fresh process."""
    done = subprocess.run([sys.executable, __file__, str(executions)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def main() -> int:
    few, many = peak_of(FEW), peak_of(MANY)
    ratio = many / few
    print(f"peak memory: {few / 1024:.1f} MiB after {FEW:,} executions, {many / 1024:.1f} MiB after {MANY:,}: "
          f"{ratio:.3f} (target ≤ {TARGET})")  # fmt: skip
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(explore(int(sys.argv[1])))
    else:
        sys.exit(main())
