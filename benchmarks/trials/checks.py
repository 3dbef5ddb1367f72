"""`simharness check` of classes that nobody here wrote, one command each: what it says, in how many orderings, in how long.

    python checks.py [WORD …]

Words choose the commands that contain one of them. Exit status 1 if a verdict is not the one that docs/trials.md has.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SECONDS = 12
CLEAN, FOUND, OPEN = 0, 1, 3
WORDS = {CLEAN: "no violation", FOUND: "finding", OPEN: "inconclusive"}


class Trial(NamedTuple):
    """A command; `claims`: whether its authors say that threads may share an object."""

    claims: bool
    command: str
    expected: int


def claimed(command: str, expected: int) -> Trial:
    return Trial(True, command, expected)


def plain(command: str, expected: int) -> Trial:
    return Trial(False, command, expected)


TRIALS = [
    claimed("queue:Queue", CLEAN),
    claimed("queue:SimpleQueue", CLEAN),
    claimed("threading:Semaphore", CLEAN),
    claimed("threading:Event", CLEAN),
    claimed("functools:lru_cache(maxsize=1)(abs) --op '__call__(-1)' --op '__call__(-2)' --op 'cache_info()'", OPEN),
    claimed("cachetools.func:lru_cache(maxsize=1)(abs) --op '__call__(-1)' --op '__call__(-2)' --instrument cachetools", CLEAN),
    claimed("diskcache:Cache(path()) --op \"set('a', 1)\" --op \"get('a')\" --op \"add('a', 2)\" --op \"incr('a')\"", CLEAN),
    claimed("sqlitedict:SqliteDict --op \"__setitem__('a', 1)\" --op \"get('a')\" --op \"pop('a')\"", OPEN),
    claimed("persistqueue:Queue", CLEAN),
    claimed("persistqueue:SQLiteQueue(path(), multithreading=True) --op 'put(1)' --op 'get(False)' --op 'size()'", FOUND),
    claimed("pyrate_limiter:Limiter(Rate(1, 60000)) --op \"try_acquire('a', blocking=False)\"", CLEAN),
    claimed("pybreaker:CircuitBreaker", FOUND),
    claimed("cacheout:LRUCache --op \"get('a')\" --op \"set('a', 1)\" --op \"add('a', 2)\" --op \"delete('a')\"", CLEAN),
    claimed("cacheout:LRUCache", FOUND),
    claimed("prometheus_client:Counter", CLEAN),
    claimed("prometheus_client:Histogram --op 'observe(1.0)' --op 'collect()'", FOUND),
    claimed("boltons.cacheutils:LRU(2)", FOUND),
    claimed("dbutils.pooled_db:PooledDB(__import__('sqlite3'), maxconnections=2, database=path()) --op 'connection()'", CLEAN),
    claimed("logging.handlers:MemoryHandler(2)", CLEAN),
    plain("expiringdict:ExpiringDict", CLEAN),
    plain("weakref:WeakValueDictionary", FOUND),
    plain("weakref:WeakSet", FOUND),
    plain("collections:deque", OPEN),
    plain("cachetools:LRUCache(2)", FOUND),
    plain("cachetools:TTLCache(2, 10)", FOUND),
    plain("boltons.dictutils:OMD", FOUND),
    plain("boltons.setutils:IndexedSet", FOUND),
    plain("pylru:lrucache(2)", FOUND),
    plain("sortedcontainers:SortedList", FOUND),
    plain("sortedcontainers:SortedDict", FOUND),
    plain("collections:ChainMap", FOUND),
    plain("configparser:ConfigParser", FOUND),
    plain("email.message:Message", FOUND),
    plain("sched:scheduler", FOUND),
    plain("pyee:EventEmitter", FOUND),
    plain("blinker:Signal", FOUND),
    plain("more_itertools:peekable([1, 2, 3])", FOUND),
    plain("limits.storage:MemoryStorage", FOUND),
    plain("ratelimit:RateLimitDecorator(1, 60)", CLEAN),
    plain("pyrate_limiter:InMemoryBucket", FOUND),
]


def run(trial: Trial, folder: str) -> tuple[int, str]:
    """Run a command; return its exit status, and a row of the table."""
    file = Path(folder) / "check.json"
    file.unlink(missing_ok=True)
    address, _, rest = trial.command.partition(" --")
    options = shlex.split(f"--{rest}") if rest else []
    began = time.monotonic()
    command = [sys.executable, "-m", "simharness", "check", address, *options, "--max-seconds", str(SECONDS), "--no-timelines"]
    done = subprocess.run([*command, "--json", str(file)], capture_output=True, text=True, check=False, cwd=folder)
    seconds = time.monotonic() - began
    if not file.exists():
        return -1, f"{address}: {done.stderr.strip()[-300:]}"
    check = json.loads(file.read_text())["check"]
    failing = sorted({" beside ".join(pair) for failure in check["failures"] for pair in failure["operations"]})
    more = f" and {len(failing) - 3} more" if len(failing) > 3 else ""
    said = f"{WORDS[done.returncode]}{': ' if failing else ''}{', '.join(failing[:3])}{more}"
    return done.returncode, f"{address:60} {said:90} {sum(one['orderings'] for one in check['programs']):>6,} {seconds:5.1f} s"


def main() -> int:
    """Run the commands; return how many differ from what is expected."""
    words, differing = sys.argv[1:], 0
    with tempfile.TemporaryDirectory() as folder:
        for claims in (True, False):
            print("claim thread-safety, or have locks" if claims else "promise nothing")
            for trial in TRIALS:
                if trial.claims is claims and (not words or any(word in trial.command for word in words)):
                    status, row = run(trial, folder)
                    differing += status != trial.expected
                    print(f"  {'' if status == trial.expected else '! '}{row}", flush=True)
    return min(differing, 1)


if __name__ == "__main__":
    sys.exit(main())
