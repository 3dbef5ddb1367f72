"""Makes the logs beside this file: runs scenarios/incident_fork.py and saves what executions log.

Run from the checkout's root: `python -m tests.incident.data.make`. Virtual time does not pass between steps: 37 ms are put between lines.
"""

import json
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple

from simharness.authoring.loading import load
from simharness.engine.actors import SHIFT
from simharness.exploring.rounds import Rounds
from simharness.exploring.watching import Watcher
from simharness.runtimes.logs import LOG_LINES
from simharness.settings import Settings
from simharness.simulation.simulation import Simulation

FOLDER = Path(__file__).parent
SCENARIOS = "scenarios/incident_fork.py"
BEGAN = datetime(2026, 11, 22, 22, 34, 3, tzinfo=UTC)
BETWEEN = timedelta(milliseconds=37)
PARENT = "20260527_234659_e65f0e"
OTHER = "20260601_101500_00c0de"


class Said(NamedTuple):
    """A line that an execution logged."""

    time: int
    process: str
    actor: str
    pid: int
    level: str
    logger: str
    message: str


class Wanted(Watcher):
    """Explores until an execution logs what is asked for."""

    def __init__(self, name, case, wanted):
        [scenario] = load(f"{SCENARIOS}::{name}")
        self.scenario, self.parameters, self.dumped = scenario, scenario.case(case), False
        self.wanted = wanted
        self.said = []
        self.dump = []

    def find(self):
        with Simulation(self.scenario, self.parameters, Settings()) as simulation:
            simulation.kernel.turn_on(LOG_LINES)
            simulation.kernel.route_log_lines(lambda record: self.heard(simulation.kernel, record))
            Rounds(simulation, "dpor", False, self, self.parameters).run()
        return self

    def heard(self, kernel, record):
        from simharness.engine.operations import Operation
        from simharness.runtimes.logs import LOG

        if kernel.record.n == 0 or not any(operation.kind == LOG for operation in kernel.record.operations):
            self.said.clear()
        kernel.step(Operation(LOG, detail=record.name))
        actor = kernel.actor
        self.said.append(
            Said(kernel.clock.now, actor.process, actor.name, record.process, record.levelname, record.name, record.getMessage())
        )

    def after(self, rounds, execution):
        if execution.status in ("complete", "deadlock") and self.wanted(self.said, execution):
            connection = sqlite3.connect(f"{rounds.simulation.kernel.workspace.path}/state.db")
            self.dump = list(connection.iterdump())
            connection.close()
            self.dumped = True

    def enough(self):
        return "found" if self.dumped else None


def positions(said, word, actor=None):
    return [number for number, line in enumerate(said) if word in line.message and actor in (None, line.actor)]


def hermes(said, began=BEGAN, tag=PARENT):
    """In upstream's format."""
    for number, line in enumerate(said):
        moment = began + timedelta(microseconds=line.time // 1000) + number * BETWEEN
        label = f" [{tag}]" if line.logger.startswith("agent.") or "split" in line.message or "ready" in line.message else ""
        yield moment, f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03} {line.level}{label} {line.logger}: {line.message}"


def with_processes(said, began=BEGAN):
    """With process and thread in each line."""
    for number, line in enumerate(said):
        moment = began + timedelta(microseconds=line.time // 1000) + number * BETWEEN
        text = (
            f"{moment:%Y-%m-%d %H:%M:%S},{moment.microsecond // 1000:03} {line.pid}/{line.actor} {line.level} {line.logger}: {line.message}"
        )
        yield moment, text


def as_json(said, began=BEGAN):
    for number, line in enumerate(said):
        moment = began + timedelta(microseconds=line.time // 1000) + number * BETWEEN
        yield (
            moment,
            json.dumps({"timestamp": moment.isoformat(), "level": line.level, "logger": line.logger, "pid": line.pid, "msg": line.message}),
        )


def write(name, lines):
    (FOLDER / name).write_text("".join(f"{text}\n" for _, text in lines), encoding="utf-8")
    print(name, file=sys.stderr)


def fork(said, execution):
    """The incident: the second compression starts when the first is done."""
    started, done = positions(said, "compression started"), positions(said, "compression done")
    return (
        len(started) == len(done) == 2
        and started[0] < done[0] < started[1]
        and len(positions(said, "turn:")) == 3 == len(positions(said, "Turn ended"))
    )


def contention(said, execution):
    """One steps back while the other compresses, and all goes well."""
    skipped, done = positions(said, "another path"), positions(said, "compression done")
    return execution.failure is None and len(skipped) == 1 and done and skipped[0] < done[0]


def crashed(said, execution):
    """The gateway dies when it has ended the session; the command line finds it locked."""
    failure = execution.failure
    return (
        failure is not None
        and "no child" in str(failure.error)
        and positions(said, "another path", "cli")
        and positions(said, "Turn ended", "cli")
    )


def contended(said, execution):
    """The command line steps back while the gateway compresses."""
    started, skipped, done = (
        positions(said, "started", "gateway"),
        positions(said, "another path", "cli"),
        positions(said, "compression done"),
    )
    return execution.failure is None and started and skipped and done and started[0] < skipped[0] < done[0] and len(said) == 10


def main():
    found = Wanted("turns", {"protocol": "lease"}, fork).find()
    write("fork.log", hermes(found.said))
    (FOLDER / "fork.sql").write_text("\n".join(found.dump) + "\n", encoding="utf-8")
    lines = list(hermes(found.said))
    write("third_missing.log", [line for number, line in enumerate(lines, start=1) if number % 3])
    other = [
        (
            moment + timedelta(milliseconds=11),
            text.replace(PARENT, OTHER).replace("1184023377", "7733204811").replace("20260101_", "20260102_"),
        )
        for moment, text in hermes(contention_lines())
    ]
    write("interleaved.log", sorted(lines + other))
    write("contention.log", hermes(contention_lines()))
    found = Wanted("processes", {"protocol": "lease", "faults": "crash=1@gateway"}, crashed).find()
    write("crash.log", with_processes(found.said))
    (FOLDER / "crash.sql").write_text("\n".join(found.dump) + "\n", encoding="utf-8")
    found = Wanted("processes", {"protocol": "lease"}, contended).find()
    write(
        "minute_gateway.log", [entry for entry, line in zip(with_processes(found.said), found.said, strict=True) if line.actor == "gateway"]
    )
    late = list(as_json(found.said, BEGAN - timedelta(minutes=1)))
    write("minute_cli.log", [entry for entry, line in zip(late, found.said, strict=True) if line.actor == "cli"])


def stalled():
    """The gateway sleeps longer than its lease lasts, and the command line compresses meanwhile; found by trying where and for how long."""
    wanted = Wanted("processes", {"protocol": "lease_recheck", "later": 301, "faults": "stall=1@gateway"}, lambda said, execution: False)
    with Simulation(wanted.scenario, wanted.parameters, wanted.settings) as simulation:
        kernel = simulation.kernel
        kernel.turn_on(LOG_LINES)
        kernel.route_log_lines(lambda record: wanted.heard(kernel, record))
        for place, instant in product(range(60), range(6)):

            def choose(enabled, place=place, instant=instant):
                names = {key: actor.name for key in enabled for actor in [kernel.cast.actors.get(key >> SHIFT)] if actor is not None}
                strike = kernel.movers.fault_key("stall", "gateway") + instant
                if kernel.record.n >= place and strike in enabled and not kernel.record.struck:
                    return strike
                first = [key for key, name in names.items() if name == ("cli" if kernel.record.struck else "gateway")]
                return next(iter([*first, *names, *enabled]))

            wanted.said.clear()
            execution = simulation.execute((), choose)
            done = [line.actor for line in wanted.said if "compression done" in line.message]
            if done == ["cli", "gateway"] and execution.failure is not None and "2 compression children" in str(execution.failure.error):
                return wanted.said
    raise LookupError("no stall forks the session")


def contention_lines():
    return Wanted("turns", {"protocol": "lease"}, contention).find().said


if __name__ == "__main__":
    main()
