"""Where CPython's eval loop can switch threads: the table, what is explored with atomicity="gil", and what a finding says of it.

Random programs are run against brute force over the interleavings of their atomic blocks. A block is what the program's construction says
(a call ends one, a statement does not), not what byte code says.
"""

import ctypes
import functools
import random
import subprocess
import sys
import threading

import pytest

import simharness
from simharness.engine.actors import SHIFT
from simharness.engine.operations import conflict
from simharness.errors import Misuse
from simharness.runtimes.memory import eval_loop
from simharness.settings import Settings
from simharness.verdicts.switching import broken

GIL = Settings(atomicity="gil", confirm=False, shrink=0)
LANGUAGE = Settings(confirm=False, shrink=0)
HAS_GIL = not eval_loop.unknown()
needs_gil = pytest.mark.skipif(not HAS_GIL, reason="this interpreter is not in the table of eval loops")

# The table, against the interpreter: the minus sign asks for an interruption without a call, which comes at the next possible point.

interrupted = []


@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
def note(_):
    interrupted.append(True)
    return 0


class Asking:
    if HAS_GIL:
        __neg__ = staticmethod(functools.partial(ctypes.pythonapi.Py_AddPendingCall, note, None))


class Space:
    n = 1


asking, space, table, items = Asking(), Space(), {1: 1}, [1]


def seen():
    return [*interrupted]


def returns():
    -asking  # noqa: B018
    return 1


CONSTRUCTS = {
    "-asking; space.n += 1": "",
    "-asking; space.other = space.n": "",
    "-asking; table[1] = table[1] + 1": "",
    "-asking; items[0] += 1; del items[1:]": "",
    "-asking; space.n < 2 and 3 in table": "",
    "-asking; x = 1 if space.n else 2": "",
    "-asking; x, y = space.n, [*items]": "",
    "-asking; f'{space.n}'": "",
    "returns()": "",
    "for i in (1,): -asking": "JUMP_BACKWARD",
    "-asking\nfor i in (): pass": "",
    "-asking; len(items)": "CALL",
    "-asking; sorted(items, reverse=True)": "CALL",
    "one = (items,); -asking; len(*one)": "CALL_FUNCTION_EX",
    "-asking; range(3)": "CALL",
    "-asking; Space()": "CALL",
    "view = memoryview(b'')\nwith view: -asking": "CALL",
    "view = memoryview(b'')\n-asking\nwith view: return [*interrupted]": "",
    "-asking; return seen()": "RESUME",
    "-asking; return Reading().look": "RESUME",
    "-asking; return -Reading()": "RESUME",
    "-asking\nfor got in generated(): return got": "RESUME",
}


class Reading:
    @property
    def look(self):
        return [*interrupted]

    def __neg__(self):
        return [*interrupted]


def generated():
    yield [*interrupted]


def interrupts(code):
    """Whether this code is interrupted before the next instruction after it, in a function that is not instrumented."""
    body = "\n".join(f"    {line}" for line in code.split("\n"))
    names = dict(globals())
    exec(f"def look():\n{body}\n    return [*interrupted]", names)
    interrupted.clear()
    return bool(names["look"]())


@needs_gil
@pytest.mark.parametrize("code", CONSTRUCTS)
def test_the_table_says_where_this_interpreter_can_be_interrupted(code):
    wanted = CONSTRUCTS[code]
    assert interrupts(code) is bool(wanted)
    assert not wanted or any(wanted in name for name in eval_loop.SWITCHES[sys.version_info[:2]])


# Random programs


SPACE = "x", "y"
Op = tuple


def statement(draw, depth=0):
    """Return the lines of a statement and its operations; None is a point at which threads can switch."""
    one, two, number = draw.choice(SPACE), draw.choice(SPACE), draw.randint(1, 3)
    kind = draw.randrange(11 if depth == 0 else 8)
    if kind == 0:
        return [f"o.{one} += {number}"], [("read", one), ("add", number), ("write", one)]
    if kind == 1:
        return [f"o.{one} = {number}"], [("set", number), ("write", one)]
    if kind == 2:
        return [f"o.{one} = o.{two} * 2 + {number}"], [("read", two), ("double",), ("add", number), ("write", one)]
    if kind == 3:
        return [f"o.{one} = same(o.{two}) + {number}"], [("read", two), None, ("add", number), ("write", one)]
    if kind == 4:
        return [f"o.{one} = abs(o.{two}) + {number}"], [("read", two), None, ("add", number), ("write", one)]
    if kind == 5:
        return ["range(2)"], [None]
    if kind == 6:
        return [f"o.{one} = o.doubled_{two}"], [None, ("read", two), ("double",), ("write", one)]
    if kind == 7:
        return [f"o.{one} = got({two!r}) + {number}"], [None, ("read", two), ("add", number), ("write", one)]
    lines, operations = zip(*(statement(draw, 1) for _ in range(draw.randint(1, 2))), strict=True)
    lines = ["    " + line for some in lines for line in some]
    operations = [operation for some in operations for operation in some]
    if kind == 8:
        return ["for _ in (1, 2):", *lines], [*operations, None, *operations, None]
    if kind == 9:
        return ["for _ in range(2):", *lines], [None, *operations, None, *operations, None]
    return [f"if o.{one} > {number}:", *lines], [("read", one), ("unless", number, len(operations)), *operations]


class Brute:
    """All interleavings of two threads' blocks. A branch that is not taken makes no switch: a block starts where one has been passed."""

    def __init__(self, threads, atomic):
        self.threads, self.atomic = threads, atomic
        self.outcomes = set()
        self.seen = set()

    def run(self):
        todo = [((0, 0), (0, 0), (0, 0))]
        while todo:
            state = todo.pop()
            if state in self.seen:
                continue
            self.seen.add(state)
            memory, positions, values = state
            moved = False
            for thread in range(2):
                if positions[thread] < len(self.threads[thread]):
                    moved = True
                    todo.append(self.advance(memory, positions, values, thread))
            if not moved:
                self.outcomes.add(memory)
        return self.outcomes

    def advance(self, memory, positions, values, thread):
        """Run a thread until it can be interrupted before an access."""
        memory, position, value = list(memory), positions[thread], values[thread]
        operations, accessed, switched = self.threads[thread], False, False
        while position < len(operations):
            operation = operations[position]
            if operation is None:
                switched = True
            elif operation[0] in ("read", "write"):
                if accessed and (switched or not self.atomic):
                    break
                accessed, switched, where = True, False, SPACE.index(operation[1])
                if operation[0] == "read":
                    value = memory[where]
                else:
                    memory[where] = value
            elif operation[0] == "set":
                value = operation[1]
            elif operation[0] == "add":
                value += operation[1]
            elif operation[0] == "double":
                value *= 2
            elif operation[0] == "unless" and not value > operation[1]:
                position += operation[2]
            position += 1
        positions = tuple(position if each == thread else positions[each] for each in range(2))
        values = tuple(value if each == thread else values[each] for each in range(2))
        return tuple(memory), positions, values


HEAD = """
import simharness

class Space:
    def __init__(self):
        self.x = self.y = 0
    @property
    def doubled_x(self):
        return self.x * 2
    @property
    def doubled_y(self):
        return self.y * 2

def same(value):
    return value

def got(name):
    return o_of[0].x if name == "x" else o_of[0].y

o_of = []
"""
SCENARIO = """
@simharness.scenario
def {name}(world):
    o = Space()
    o_of[:] = [o]
    def a():
        {a}
    def b():
        {b}
    world.actor("a", a)
    world.actor("b", b)
    @world.at_end
    def end():
        world.outcome((o.x, o.y))
        assert (o.x, o.y) {allowed}
"""


def drawn(seed):
    """Return the lines and the operations of two threads."""
    draw = random.Random(seed)
    threads = []
    for _ in range(2):
        lines, operations = zip(*(statement(draw) for _ in range(draw.randint(1, 3))), strict=True)
        threads.append(([line for some in lines for line in some], [operation for some in operations for operation in some]))
    return threads


def compared(tmp_path, seeds):
    """Explore random programs in both ways; each asserts that its outcome is one that the eval loop can have."""
    source, expected = HEAD, {}
    for seed in seeds:
        (lines_a, a), (lines_b, b) = drawn(seed)
        gil, language = (Brute((a, b), atomic).run() for atomic in (True, False))
        allowed = f"in {sorted(gil)!r}"
        source += SCENARIO.format(name=f"program_{seed}", a="\n        ".join(lines_a), b="\n        ".join(lines_b), allowed=allowed)
        expected[f"program_{seed}"] = gil, language
    (tmp_path / "programs_of_blocks.py").write_text(source)
    differing = 0
    for scenario in simharness.load(str(tmp_path / "programs_of_blocks.py")):
        gil, language = expected[scenario.name]
        atomic = simharness.explore(scenario, settings=GIL)
        assert (atomic.verdict != "violated", atomic.outcomes) == (True, gil), (scenario.name, atomic.error)
        default = simharness.explore(scenario, settings=LANGUAGE, stop_on_first=False)
        assert default.outcomes == language >= gil, (scenario.name, default.outcomes, language)
        if language > gil:
            differing += 1
            assert "does not switch threads at" in default.counterexample.shortness
    return differing


@needs_gil
def test_random_programs_have_the_outcomes_of_their_atomic_blocks_and_what_lies_beyond_says_that_it_cannot_happen_today(tmp_path):
    assert compared(tmp_path, range(40)) > 5


@needs_gil
@pytest.mark.long
def test_many_random_programs_have_the_outcomes_of_their_atomic_blocks(tmp_path):
    assert compared(tmp_path, range(1_000, 1_150)) > 25


# By hand


class Counter:
    def __init__(self):
        self.n = self.m = 0
        self.items = []

    @property
    def now(self):
        return self.n

    def in_one_go(self):
        self.n += 1

    def through_a_call(self):
        self.n = same(self.n) + 1

    def through_a_property(self):
        self.n = 1 + self.read_and(self.now)

    def read_and(self, value):
        return value

    def after_a_call(self):
        self.n = self.now + 1

    def each_turn(self):
        for _ in range(2):
            self.m = self.n
            self.n = self.m + 1

    def in_a_loop(self):
        before = self.n
        for _ in range(2):
            pass
        self.n = before + 1

    def before_break(self):
        before = self.n
        while True:
            break
        self.n = before + 1

    def after_a_handler(self):
        try:
            before = self.n
            [][before]
        except IndexError:
            pass
        self.n = before + 1

    def with_an_operator(self):
        self.n = self.n + Slow()


class Slow:
    def __radd__(self, other):
        return other + 1


def same(value):
    return value


def run_by_two(method, total=2):
    @simharness.scenario(instrument=(__name__,))
    def twice(world):
        counter = Counter()
        world.actor("a", getattr(counter, method))
        world.actor("b", getattr(counter, method))

        @world.at_end
        def counted():
            assert counter.n == total

    return twice


BY_HAND = {
    "in_one_go": "verified",
    "through_a_call": "violated",
    "through_a_property": "violated",
    "after_a_call": "verified",
    "in_a_loop": "violated",
    "before_break": "verified",
    "with_an_operator": "violated",
}


@needs_gil
@pytest.mark.parametrize("method", BY_HAND)
def test_a_counter_is_verified_where_the_eval_loop_makes_it_in_one_go_and_violated_elsewhere_and_the_finding_says_which(method):
    scenario = run_by_two(method)
    assert simharness.explore(scenario, settings=GIL).verdict == BY_HAND[method]
    found = simharness.explore(scenario, settings=LANGUAGE)
    assert found.verdict == "violated"
    said = "does not switch threads at" if BY_HAND[method] == "verified" else "can switch threads where this ordering does"
    assert f"this version of CPython {said}" in found.counterexample.shortness


@needs_gil
def test_a_loops_turns_are_each_one_step():
    assert simharness.explore(run_by_two("each_turn", 4), settings=GIL).verdict == "verified"


@needs_gil
def test_after_a_handler_threads_can_switch_if_this_version_jumps_back_from_it():
    jumps_back = interrupts("try: [][space.n]\nexcept IndexError: -asking\nspace.n = 1")
    assert simharness.explore(run_by_two("after_a_handler"), settings=GIL).verdict == ("violated" if jumps_back else "verified")


@needs_gil
def test_the_verdict_and_the_token_say_that_accesses_are_atomic_and_the_token_is_replayed_so():
    scenario = run_by_two("through_a_call")
    found = simharness.explore(scenario, settings=Settings(atomicity="gil"))
    assert f"memory accesses atomic as in the eval loop of {eval_loop.version()}" in found.bounds
    assert "atomicity=gil" in found.counterexample.token
    assert "switch threads" not in found.counterexample.shortness
    again = simharness.replay(scenario, found.counterexample.token)
    assert again.failure == found.counterexample.failure
    assert again.trace_hash == found.counterexample.trace_hash


@simharness.scenario(instrument=(__name__,))
def handed_over(world):
    counter, guard = Counter(), threading.Lock()

    def add():
        with guard:
            before = counter.n
        with guard:
            counter.n = before + 1

    world.actor("a", add)
    world.actor("b", add)

    @world.at_end
    def counted():
        assert counter.n == 2


@needs_gil
def test_locks_stay_scheduling_points():
    assert simharness.explore(handed_over, settings=GIL).verdict == "violated"
    found = simharness.explore(handed_over, settings=LANGUAGE).counterexample
    assert "switch threads" not in found.shortness  # it needs no switch between two accesses


@needs_gil
@pytest.mark.interleave(atomicity="gil")
def test_a_test_with_the_marker_is_explored_with_atomic_accesses():
    counter = Counter()
    threads = [threading.Thread(target=counter.in_one_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.n == 2


CHECKED = """
class Cell:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return None
    def get(self):
        return self.n
"""


@needs_gil
@pytest.mark.parametrize(("options", "status"), [((), 1), (("--atomicity", "gil"), 0)])
def test_a_class_is_checked_with_atomic_accesses_on_request(tmp_path, options, status):
    (tmp_path / "cells.py").write_text(CHECKED)
    command = [sys.executable, "-m", "simharness", "check", "cells.py:Cell", "--op", "add()", "--no-timelines", *options]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == status, run.stdout + run.stderr
    if not options:
        assert "does not switch threads at cells.py:6, as" in " ".join(run.stdout.split())


def test_a_wrong_value_and_data_races_beside_it_are_refused():
    with pytest.raises(Misuse, match="atomicity='often': it must be one of language, gil"):
        Settings(atomicity="often")
    with pytest.raises(Misuse, match="leave atomicity='gil' out"):
        Settings(atomicity="gil", races="fail")


def test_a_version_that_is_not_in_the_table_is_refused_and_its_findings_say_nothing(monkeypatch):
    monkeypatch.setattr(eval_loop, "SWITCHES", {})
    with pytest.raises(Misuse, match=r"it is not known where|free-threaded"):
        simharness.explore(run_by_two("in_one_go"), settings=GIL)
    assert "switch threads" not in simharness.explore(run_by_two("in_one_go"), settings=LANGUAGE).counterexample.shortness


@needs_gil
def test_another_tool_that_profiles_is_named():
    sys.setprofile(lambda frame, event, argument: None)
    try:
        with pytest.raises(Misuse, match="needs the interpreter's profiler"):
            simharness.explore(run_by_two("in_one_go"), settings=GIL)
    finally:
        sys.setprofile(None)


@needs_gil
def test_no_profiler_is_left_behind():
    simharness.explore(run_by_two("in_one_go"), settings=GIL)
    simharness.explore(run_by_two("in_one_go"), settings=LANGUAGE)
    assert sys.getprofile() is None


# Blocks and conflicts


class Steps:
    """A record of random steps of three actors."""

    def __init__(self, draw):
        self.n = draw.randint(2, 6)
        self.keys = [draw.randrange(3) << SHIFT for _ in range(self.n)]
        self.reads = [1 << draw.randrange(3) for _ in range(self.n)]
        self.writes = [draw.choice((0, read)) for read in self.reads]


def swappable(record, order, before):
    """Whether some ordering that is equal up to swapping neighbours which do not conflict keeps each step right after the one before it."""
    todo, seen = [tuple(order)], {tuple(order)}
    while todo:
        now = todo.pop()
        if all(now.index(step) == now.index(first) + 1 for step, first in before.items()):
            return True
        for place in range(len(now) - 1):
            one, two = now[place], now[place + 1]
            free = record.keys[one] != record.keys[two] and not conflict(
                record.reads[one], record.writes[one], record.reads[two], record.writes[two]
            )
            other = (*now[:place], two, one, *now[place + 2 :])
            if free and other not in seen:
                seen.add(other)
                todo.append(other)
    return False


def test_blocks_can_stay_whole_exactly_if_swapping_steps_that_do_not_conflict_makes_them_whole():
    draw = random.Random(11)
    broken_ones = 0
    for _ in range(1_500):
        record, before, last = Steps(draw), {}, {}
        for step in range(record.n):
            actor = record.keys[step]
            if actor in last and draw.random() < 0.7:
                before[step] = last[actor]
            last[actor] = step
        whole = swappable(record, range(record.n), before)
        found = broken(record, before)
        assert (found is None) is whole, (record.keys, record.reads, record.writes, before)
        broken_ones += not whole
    assert broken_ones > 80


# Free-threaded builds


@pytest.mark.skipif(not eval_loop.free_threaded(), reason="this interpreter has an interpreter lock: it is no free-threaded build")
def test_a_free_threaded_build_stays_without_its_lock_after_the_imports():
    code = "import sys, simharness, greenlet; print(sys._is_gil_enabled())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.strip() == "False", run.stderr
