"""Random small programs that log, incidents made of what they log, and the executions that explain these, found by brute force.

The reference knows nothing of the search: it runs every interleaving with every log line a step of its own, writes down who logged what,
and asks of each whole list of lines whether the incident can be read off it.
"""

import logging
import random
from itertools import count, product

import simharness
from simharness.engine.actors import SHIFT
from simharness.engine.operations import conflict
from simharness.incident.findings import Level, events_of
from simharness.incident.gate import PICK, LogLine, parts
from simharness.incident.matching import Search
from simharness.incident.templates import Line, Log, Template
from simharness.incident.timeline import Incident, _ordered
from simharness.runtimes.logs import LOG, LOG_LINES
from simharness.search.exhaustive import Exhaustive
from simharness.settings import Settings
from simharness.simulation.simulation import Simulation

READ = Template("read", "random.logs", "read {value} as {who}")
WROTE = Template("wrote", "random.logs", "wrote as {who}")
DESCRIBED = Log((READ, WROTE), ids={"who": "session"}, equal=("value",))
logger = logging.getLogger("random.logs")
SECOND = 1_000_000_000
PROCESS = {"actor0": "one", "actor1": "two", "actor2": "two"}


def drawn(draw):
    """A program: for each actor its instructions."""
    actors = draw.choice([2, 2, 3])
    longest = 5 if actors == 2 else 3
    cells = "xy"
    return [
        [(draw.choice(["read", "add", "set", "log", "log", "log", "log if"]), draw.choice(cells)) for _ in range(draw.randint(1, longest))]
        for _ in range(actors)
    ]


def scenario_of(program):
    def scenario(world):
        cells = {name: world.shared(0, name) for name in "xy"}

        def work(who, instructions):
            value = 0
            for what, name in instructions:
                if what == "read":
                    value = cells[name].get()
                elif what == "add":
                    cells[name].add(1)
                elif what == "set":
                    cells[name].set(value + 1)
                elif what == "log" or value:
                    logger.info("read %s as %s", value, who) if name == "x" else logger.info("wrote as %s", who)

        for number, instructions in enumerate(program):
            world.actor(f"actor{number}", work, f"{number}-{number}", instructions, process=PROCESS[f"actor{number}"])

        @world.at_end
        def small():
            assert cells["x"].get() < 2

    return simharness.Scenario(scenario, log=DESCRIBED)


def shape(kernel):
    """An ordering, as what each actor did and which conflicting steps came first; without the log lines."""
    events = events_of(kernel)
    steps = [n for n in range(kernel.record.n) if kernel.record.operations[n].kind not in (LOG, PICK)]
    own = tuple(
        sorted((actor.name, tuple(events[n][1:] for n in steps if events[n][0] == actor.name)) for actor in kernel.cast.actors.values())
    )
    pairs = frozenset(
        (events[i], events[j])
        for j in steps
        for i in steps
        if i < j
        and kernel.record.keys[i] >> SHIFT != kernel.record.keys[j] >> SHIFT
        and conflict(kernel.record.reads[i], kernel.record.writes[i], kernel.record.reads[j], kernel.record.writes[j])
    )
    return own, pairs


def everything(scenario):
    """Every interleaving: (its ordering, whether it fails, the lines it logs with who logs them)."""
    found = []
    with Simulation(scenario, {}, Settings()) as simulation:
        kernel = simulation.kernel
        kernel.turn_on(LOG_LINES)
        logged = []

        def on_log(record):
            kernel.step(LogLine(record.getMessage(), detail=record.name))
            logged.append((kernel.actor.name, record.getMessage()))

        kernel.route_log_lines(on_log)
        strategy = Exhaustive(kernel)
        while (plan := strategy.begin()) is not None:
            logged.clear()
            execution = simulation.execute(plan, strategy.choose)
            found.append((shape(kernel), execution.failure is not None, list(logged)))
            strategy.end()
    return found


def incident_from(draw, executions):
    """An incident made of the lines of one of the executions, spoilt in some way."""
    _, _, logged = draw.choice(executions)
    logged = list(logged)
    spoilt = draw.choice(["not", "not", "cut", "lacking", "swapped"])
    if spoilt == "cut":
        logged = logged[: draw.randint(0, len(logged))]
    elif spoilt == "lacking" and logged:
        del logged[draw.randrange(len(logged))]
    elif spoilt == "swapped" and len(logged) > 1:
        logged.reverse()
    threads = draw.random() < 0.5
    files = draw.choice([1, 1, 2])
    skew = draw.choice([0, 2]) * SECOND
    lines = []
    for number, (actor, message) in zip(count(), logged):
        template, fields = DESCRIBED.match("random.logs", message)
        fields = {**fields, "who": f"session {fields['who']}"}
        source = f"log {PROCESS[actor] if files == 2 else 1}"
        process = PROCESS[actor] if threads else ""
        line = Line(source, f"{source}:{number}", number * SECOND, 1, "random.logs", "INFO", message, process, actor if threads else "", {})
        line.template, line.fields = template, fields
        lines.append(line)
    ordered, before = _ordered(lines, skew)
    return Incident(ordered, before, [], frozenset(), [], [], 0, skew / SECOND)


def explains(logged, incident, missing):
    """Whether the incident can be read off these lines, with exactly so many of them missing from it."""
    apart = parts(incident)
    actors = sorted({actor for actor, _ in logged})
    return any(
        _read(logged, incident, dict(zip(actors, (apart[number] for number in picked), strict=True)), missing)
        for picked in product(range(len(apart)), repeat=len(actors))
    )


def _read(logged, incident, parts_of, missing):
    full = (1 << len(incident.lines)) - 1

    def agrees(known, kind, mine, its):
        return all((mine == one) == (its == other) for found, one, other in known if found == kind)

    def read(position, done, left, known):
        if position == len(logged):
            return done == full and not left
        actor, message = logged[position]
        part = parts_of[actor]
        if done == full:
            return read(position + 1, done, left, known)
        template, fields = DESCRIBED.match("random.logs", message)
        if left and read(position + 1, done, left - 1, known):
            return True
        for index, line in enumerate(incident.lines):
            if not part >> index & 1 or done >> index & 1 or incident.before[index] & ~done or line.template is not template:
                continue
            if "value" in fields and fields["value"] != line.fields["value"]:
                continue
            pairs = [("session", line.fields["who"], fields["who"])]
            if line.thread:
                pairs += [("thread", line.thread, actor), ("process", line.process, PROCESS[actor])]
            if all(agrees(known, *pair) for pair in pairs) and read(position + 1, done | 1 << index, left, [*known, *pairs]):
                return True
        return False

    return read(0, 0, missing, [])


class Shapes(Search):
    """The search, with the ordering of each fit in the reference's words."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.shapes = set()

    def begin(self, rounds):
        super().begin(rounds)
        self.shapes = set()

    def _fits(self, simulation, execution):
        before = len(self.found.fits)
        super()._fits(simulation, execution)
        if len(self.found.fits) > before:
            kernel = simulation.kernel
            self.shapes.add((shape(kernel), execution.failure is not None))


def compared(seed):
    """Compare one random program's search with brute force; return how many interleavings, lines and orderings there were."""
    draw = random.Random(seed)
    program = drawn(draw)
    scenario = scenario_of(program)
    executions = everything(scenario)
    incident = incident_from(draw, executions)
    missing = draw.choice([0, 0, 1])
    search = Shapes(scenario, {}, Settings(), incident, Level(None, missing), None)
    found = search.find(evidence_too=False)
    assert found.gave_up is None
    expected = {
        (ordering, fails)
        for ordering, fails, logged in executions
        if any(explains(logged, incident, lacking) for lacking in range(missing + 1))
    }
    assert search.shapes == expected, (seed, program, [line.message for line in incident.lines], incident.before, missing)
    assert len(found.fits) == len(expected)
    return len(executions), len(incident.lines), len(expected)
