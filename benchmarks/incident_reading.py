"""How long it takes to read a large log and find an incident's lines in it, in processor seconds.

The log of tests/incident/data is put in the middle of unrelated lines: other loggers, other sessions' messages, tracebacks.

    python benchmarks/incident_reading.py [LINES]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scenarios.hermes_logs import HERMES  # noqa: E402  # the checkout has to be on the path first
from simharness.incident.formats import read  # noqa: E402
from simharness.incident.timeline import incident_of  # noqa: E402

UNRELATED = (
    "2026-11-22 22:34:02,358 INFO run_agent: OpenAI client created (agent_init, shared=True) provider=custom",
    "2026-11-22 22:34:02,359 WARNING [20260601_101500_{0:06x}] agent.conversation_loop: Repaired 1 message-alternation violations",
    "2026-11-22 22:34:02,360 ERROR [20260601_101500_{0:06x}] gateway.run: delivery failed\nTraceback (most recent call last):\nTimeout",
    "2026-11-22 22:34:02,361 INFO [20260601_101500_{0:06x}] agent.conversation_loop: API call #1: model=test-model in=14210 out=9",
)


def unrelated(lines: int) -> str:
    texts: list[str] = []
    while len(texts) < lines:
        texts += UNRELATED[len(texts) % len(UNRELATED)].format(len(texts)).split("\n")
    return "\n".join(texts[:lines]) + "\n"


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    noise = unrelated(lines // 2)
    incident = (ROOT / "tests/incident/data/fork.log").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.log"
        path.write_text(noise + incident + noise, encoding="utf-8")
        began = time.process_time()
        reading = read([str(path)], HERMES)
        after = time.process_time()
        selected = incident_of(reading.lines, HERMES, 1.0)
        print(f"{reading.total:,} lines read in {after - began:.2f} s; {len(selected.lines)} lines of the incident found", end=" ")
        print(f"in {time.process_time() - after:.2f} s (processor time)")


if __name__ == "__main__":
    main()
