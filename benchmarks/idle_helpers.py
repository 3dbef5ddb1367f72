"""Orderings of programs with an idle helper: two contenders for a lease, whose holder stops a helper that waits on an event in a loop.

python benchmarks/idle_helpers.py [SECONDS]
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import simharness
from simharness import Settings


def contenders(join: float | None, daemon: bool = False, wait: float = 60, more: int = 0) -> Callable[[], None]:
    """Return a test whose helper waits for `wait` seconds at a time, and is joined with this timeout."""

    def test() -> None:
        guard = threading.Lock()
        holder: list[str] = []
        out: list[str] = []

        def contend(me: str) -> None:
            with guard:
                got = not holder
                if got:
                    holder.append(me)
            if not got:
                return
            stop = threading.Event()

            def refresh() -> None:
                while not stop.wait(wait):
                    with guard:
                        if holder != [me]:
                            break

            helper = threading.Thread(target=refresh, daemon=daemon)
            helper.start()
            for _ in range(2 + more):
                with guard:
                    out.append(me)
            stop.set()
            helper.join(timeout=join)
            with guard:
                holder.clear()

        threads = [threading.Thread(target=contend, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not holder

    return test


PROGRAMS = {
    "thread, join()": contenders(None),
    "daemon, join()": contenders(None, daemon=True),
    "thread, join(1)": contenders(1),
    "daemon, join(1)": contenders(1, daemon=True),
    "thread, wait(3), join(5)": contenders(5, wait=3),
    "thread, wait(3), join(5), two more writes": contenders(5, wait=3, more=2),
}


def main(seconds: float) -> None:
    """Print a line for each program."""
    for name, program in PROGRAMS.items():
        result = simharness.explore(program, settings=Settings(max_seconds=seconds, confirm=False))
        print(f"{name:42} {result.verdict!s:12} {result.executions:6,}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 60)
