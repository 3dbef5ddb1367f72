"""Checks of classes without a scenario: planted bugs and their twins, what the verdict says, the command line, pytest, bad input."""

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

import simharness.check
from simharness import Misuse, Nondeterminism, Settings, TokenError
from simharness.check import words
from simharness.check.checking import Checker, scenario_of_token
from simharness.check.declared import how_of, target_of
from simharness.check.programs import Program, count, of_shape, parse, shapes
from simharness.check.values import frozen
from simharness.cli.main import app
from tests import checked_classes
from tests.checked_classes import PLANTED, Counter, LockedCounter

ROOT = Path(__file__).parent.parent
DEEPER = ("WokenOnce", "WokenAgain")
"""These need two calls of an actor."""


AGES = 100_000
"""Seconds: programs decide when a check is over, not time."""


def quick(cls, **options):
    calls = 2 if getattr(cls, "__name__", "") in DEEPER else 1
    return simharness.check.run(
        cls, settings=Settings(shrink=0, confirm=False), **{"threads": 2, "calls": calls, "max_seconds": AGES, **options}
    )


def cli(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)], prog_name="simharness", env={"COLUMNS": "80"})


@pytest.mark.parametrize(("wrong", "right"), PLANTED, ids=lambda cls: cls.__name__)
def test_a_planted_bug_is_found_in_the_smallest_programs_and_its_twin_is_spared(wrong, right):
    assert quick(wrong).verdict == "violated"
    found = quick(right)
    assert found.verdict == "verified", [str(failure.program) for failure in found.failures]


@pytest.mark.long
@pytest.mark.parametrize(("wrong", "right"), PLANTED, ids=lambda cls: cls.__name__)
def test_a_planted_bug_is_found_in_programs_of_two_calls_each_and_its_twin_is_spared(wrong, right):
    found = simharness.check.run(wrong, threads=2, calls=2, max_seconds=AGES)
    assert found.failures
    for failure in found.failures:
        assert simharness.replay(
            Checker(found.target, how_of(found.target)).scenario(failure.program), failure.counterexample.token
        ).failure
    assert simharness.check.run(right, threads=2, calls=2, max_seconds=AGES).verdict == "verified"


def test_failing_programs_are_the_smallest_and_stand_for_all_that_contain_them():
    found = simharness.check.run(Counter)
    assert [str(failure.program) for failure in found.failures] == ["increment() | increment()"]
    assert found.failures[0].violates == "serializable"
    assert sum(stage.known for stage in found.stages) > 10
    assert found.cell("increment", "increment").mark == "✗"
    assert found.cell("increment", "get").mark == "✓"


def test_what_is_printed_fits_eighty_columns_and_says_within_what_it_holds():
    found = simharness.check.run(Counter, threads=2, calls=1)
    text = words.text(found)
    head, _, rest = text.partition("\n\n")
    assert head.startswith("Counter: violated, serializable; ")
    assert rest.startswith("           increment  get\nincrement         ✗1   ✓2\nget                    ✓2\n")
    for said in (
        "✗ increment beside increment: serializable\n  a: increment()\n  b: increment()\n",
        "these results it ends with value=1; in a serial order it ends with value=2",
        "✓ means: no violation in programs of 1+1, 1+1 after a call, with these arguments",
        "specification: no deadlock, no exception that no serial order raises, invariant,\n  serializable",
        "calls: increment(), get()",
        "each ordering begins with Counter()",
    ):
        assert said in text, text
    assert all(len(line) <= 80 for line in text.split("\n") if "Counter:program=" not in line)


def test_a_matrix_of_many_operations_is_split_into_blocks_that_fit():
    methods = {f"operation_with_a_long_name_{number}": (lambda self: None) for number in range(30)}
    cls = type("Many", (), {"__module__": __name__, **methods})
    target = target_of(cls)
    checker = Checker(target, how_of(target))
    lines = words.matrix(checker._checked([]))
    assert max(map(len, lines)) <= 80
    assert "30 operation_with_a_long_name_" in lines[-1]
    assert sum(line.count("?") for line in lines) == 30 * 31 // 2


def test_programs_are_all_combinations_smallest_first_and_symmetric_ones_once():
    assert shapes(2, 2) == [(1, 1), (1, 2), (2, 2)]
    for shape in ((1, 1), (1, 2), (2, 2), (1, 1, 1), (1, 1, 2)):
        programs = list(of_shape(shape, ["f()", "g()", "h(1)"]))
        assert len(programs) == len({tuple(sorted(actors)) for actors in programs}) == count(shape, 3)


def test_a_program_is_read_as_it_is_written_whatever_its_arguments_contain():
    calls = ["put(' | ')", "put('; ')", "put(' >> ')", "get()", "put('a')"]
    for program in (Program((("get()",), ("put(' | ')", "put('; ')"))), Program((("put(' >> ')",), ("get()",)), ("put('a')", "get()"))):
        assert parse(str(program), calls) == program
    with pytest.raises(TokenError, match="not a program"):
        parse("put('a') / get()", calls)


class Letters:
    """Two places that are written one after the other."""

    def __init__(self):
        self._new = self._old = 0

    def write(self):
        self._new = 1
        self._old = 1

    def new(self):
        return self._new

    def old(self):
        return self._old


SPECIFIED = [
    ("serializable", (("write()",), ("new()",), ("old()",)), "verified"),
    ("linearizable", (("write()",), ("new()",), ("old()",)), "violated"),
    ("quiescent", (("write()",), ("new()",), ("old()",)), "verified"),
    ("serializable", (("write()",), ("new()", "old()")), "violated"),
    ("quiescent", (("write()",), ("new()", "old()")), "verified"),
    ("linearizable", (("write()",), ("old()", "new()")), "verified"),
    ("no-lost-update", (("write()",), ("new()", "old()")), "verified"),
    ("no-exception,no-deadlock", (("write()",), ("new()", "old()")), "verified"),
]


@pytest.mark.parametrize(("word", "actors", "verdict"), SPECIFIED)
def test_each_specification_asks_for_its_own_order(word, actors, verdict):
    target = target_of(Letters, (), {"spec": word, "strategy": "dpor"})  # samples could find what reduction misses
    checker = Checker(target, how_of(target))
    with checker.opened():
        examined = checker.examine(Program(actors))
    assert examined.verdict == verdict
    if verdict == "violated":
        assert examined.result.counterexample.violates[0] == word


@pytest.mark.parametrize("actors", list(itertools.permutations((("write()",), ("new()",), ("old()",)))), ids=str)
def test_what_returned_before_what_began_is_explored_whichever_actor_is_the_first(actors):
    target = target_of(Letters, (), {"spec": "linearizable", "strategy": "dpor"})
    checker = Checker(target, how_of(target, Settings(shrink=0)))
    with checker.opened():
        assert checker.examine(Program(tuple(actors))).verdict == "violated"


def test_a_call_may_wait_where_some_serial_order_leaves_it_waiting():
    target = target_of(checked_classes.WokenAgain, ("put(1)", "take()"))
    checker = Checker(target, how_of(target))
    with checker.opened():
        for actors in ((("take()",), ("take()",)), (("take()",), ("put(1)",)), (("take()",), ("take()", "put(1)"))):
            assert checker.examine(Program(actors)).verdict == "verified", actors
        assert checker.serial(Program((("take()",), ("take()",)))).complete == []


class Refuses:
    def __init__(self):
        self.value = 0

    def set(self, value: int):
        self.value = value

    def refuse(self):
        raise NotImplementedError


def test_an_operation_that_always_raises_is_no_verdict_on_what_is_beside_it():
    found = quick(Refuses)
    assert found.cell("set", "set").mark == "✓"
    assert found.cell("set", "refuse").mark == "?"
    assert found.in_words().endswith("except for refuse, which raised in every serial order")


class TwoThatWait(checked_classes.LostWakeUp):
    def never(self):
        with self._changed:
            self._changed.wait_for(lambda: False)


def test_a_call_may_not_wait_because_another_one_may():
    target = target_of(TwoThatWait)
    checker = Checker(target, how_of(target, Settings(shrink=0)))
    with checker.opened():
        assert checker.examine(Program((("open()",), ("never()",)))).verdict == "verified"
        assert checker.examine(Program((("open()",), ("wait()",), ("never()",)))).verdict == "violated"


class Balance:
    """Keeps what it has in two places, and can say whether they agree."""

    def __init__(self):
        self._left, self._right = 1, 1

    @simharness.check.operation
    def move(self):
        self._left -= 1
        self._right += 1

    def invariant(self):
        assert self._left + self._right == 2


def test_an_invariant_is_a_specification_of_its_own_and_the_verdict_names_it():
    marked = simharness.check.target(threads=2, calls=1)(Balance)
    assert {failure.violates for failure in quick(marked).failures} == {"invariant"}


def test_a_state_decides_what_is_compared():
    class Noisy:
        def __init__(self):
            self._attempts = 0

        def work(self):
            self._attempts += 1

    assert quick(Noisy).verdict == "violated"
    assert quick(Noisy, state=lambda self: "nothing").verdict == "verified"
    assert quick(Noisy, state="0 * self._attempts").verdict == "verified"


def test_values_are_compared_by_their_contents():
    class Thing:
        def __init__(self, inside):
            self.inside = inside

    one, other = Thing([1, {"a": {2}}]), Thing([1, {"a": {2}}])
    assert frozen(one) == frozen(other)
    assert frozen(Thing([1])) != frozen(Thing([True]))
    assert frozen({1: 2, 3: 4}) == frozen({3: 4, 1: 2})
    shared = [1]
    assert frozen([shared, shared]) != frozen([[1], [1]])
    one.inside.append(one)
    other.inside.append(other)
    assert frozen(one) == frozen(other)


def test_a_model_is_what_the_class_is_compared_with_and_must_agree_with_it_serially():
    class Right:
        def __init__(self):
            self.value = 0

        def add(self):
            self.value += 1

        def state(self):
            return self.value

    class Wrong(Right):
        def add(self):
            self.value += 2
            return "more"

    Right.model = LockedRight = type("LockedRight", (Right,), {})
    assert simharness.check.run(simharness.check.target(threads=2, calls=1)(Right)).verdict == "violated"

    class Plain:
        def __init__(self):
            self._lock, self._inside = threading.Lock(), 0

        def add(self):
            with self._lock:
                self._inside += 1

    Plain.model = LockedRight
    assert simharness.check.run(simharness.check.target(threads=2, calls=1)(Plain)).verdict == "verified"
    Wrong.model = LockedRight
    with pytest.raises(Misuse, match="differs from its model already when"):
        simharness.check.run(simharness.check.target(threads=2, calls=1)(Wrong))


def test_several_processes_find_the_same():
    one, two = (quick(checked_classes.Pool, workers=workers) for workers in (1, 2))
    assert [str(failure.program) for failure in two.failures] == [str(failure.program) for failure in one.failures]
    assert [failure.counterexample.token for failure in two.failures] == [failure.counterexample.token for failure in one.failures]
    assert [(str(e.program), e.verdict, e.executions) for e in two.examined] == [
        (str(e.program), e.verdict, e.executions) for e in one.examined
    ]


@pytest.mark.long
def test_serial_orders_are_under_the_same_faults():
    found = quick(checked_classes.AtomicTill, faults="db_error=1")
    assert found.verdict == "verified", [(str(one.program), one.reason) for one in found.unsettled]
    assert quick(checked_classes.Till, faults="db_error=1").verdict == "violated"


ELSEWHERE = """
import sqlite3
import trio

class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("CREATE TABLE IF NOT EXISTS t (k TEXT PRIMARY KEY)")

    def put(self, k: str):
        if not self.db.execute("SELECT k FROM t WHERE k = ?", (k,)).fetchone():
            self.db.execute("INSERT INTO t VALUES (?)", (k,))

class Atomic(Store):
    def put(self, k: str):
        self.db.execute("INSERT OR IGNORE INTO t VALUES (?)", (k,))

class Tasks:
    def __init__(self):
        self.value, self.lock = 0, trio.Lock()

    async def add(self):
        value = self.value
        await trio.sleep(0)
        self.value = value + 1

class Locked(Tasks):
    async def add(self):
        async with self.lock:
            await super().add()
"""
ON_ASYNCIO = (
    ELSEWHERE.replace("import trio", "import asyncio").replace("trio.", "asyncio.")
    + """
    def look(self):
        return self.value

class Either(Tasks):
    def add_now(self):
        self.value += 1
"""
)


@pytest.mark.parametrize(
    ("made", "options", "verdict"),
    [
        ("Store(path())", {"process": True}, "violated"),
        ("Atomic(path())", {"process": True}, "verified"),
        ("Tasks()", {}, "violated"),
        ("Locked()", {}, "verified"),
    ],
)
def test_each_actor_can_have_a_process_and_coroutines_are_tasks(tmp_path, made, options, verdict):
    file = tmp_path / "elsewhere.py"
    file.write_text(ELSEWHERE)
    found = simharness.check.run(f"{file}:{made}", settings=Settings(shrink=0, confirm=False), threads=2, calls=1, **options)
    assert found.verdict == verdict
    if verdict == "violated" and options:
        assert found.failures[0].violates == "no exception that no serial order raises"


def test_coroutines_of_a_class_on_asyncio_are_called_by_its_tasks(tmp_path):
    file = tmp_path / "on_asyncio.py"
    file.write_text(ON_ASYNCIO)
    for made, verdict in (("Tasks()", "violated"), ("Locked()", "verified")):
        found = simharness.check.run(f"{file}:{made}", ("add()",), settings=Settings(shrink=0, confirm=False), threads=2, calls=2)
        assert found.verdict == verdict
    assert "asyncio (what pauses wait for arrives at any time" in found.points


def test_of_a_class_that_has_both_the_functions_are_called_by_threads_and_the_coroutines_named(tmp_path):
    file = tmp_path / "on_asyncio.py"
    file.write_text(ON_ASYNCIO)
    found = quick(f"{file}:Either")
    assert found.target.operations == ["add_now"]
    assert found.target.left == ("Either.add: it is a coroutine, and others are not: check the coroutines alone, with --op",)
    assert found.verdict == "violated"


# The command line


COUNTING = """
class Counter:
    def __init__(self):
        self.value = 0

    def add(self, number: int):
        self.value += number

    def get(self):
        return self.value


class Picky:
    def __init__(self, it: "Unknown"):
        self.it = it

    def do(self):
        pass


class Broken:
    def __init__(self):
        raise RuntimeError("not today")

    def do(self):
        pass


class Random:
    def draw(self):
        with open("/proc/sys/kernel/random/uuid") as source:
            return source.read()


class Failing:
    def do(self):
        raise KeyError("never")


class Nothing:
    pass


NUMBER = 1
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counting.py").write_text(COUNTING)
    sys.modules.pop("counting", None)
    sys.modules.pop("simharness_scenarios_counting", None)
    return tmp_path


def test_the_command_prints_the_matrix_and_a_command_that_replays_the_failing_ordering(module):
    result = cli(
        "counting.py:Counter", "--op", "add(1)", "--op", "get()", "--threads", 2, "--calls", 1, "--json", "o.json", "--html", "o.html"
    )
    assert result.exit_code == 1, result.output
    assert "✗ add beside add: serializable" in result.output
    (command,) = re.findall("^simharness check (.*)$", result.output, re.MULTILINE)
    token = command.rpartition(" ")[2]
    again = cli("counting.py:Counter", "--op", "add(1)", "--op", "get()", "--replay", token)
    assert again.exit_code == 1
    assert "serializable does not hold: a: add(1) → None" in " ".join(again.output.split())
    whole = json.loads((module / "o.json").read_text())
    assert whole["exit_status"] == 1
    assert whole["check"]["failures"][0]["token"] == token
    assert whole["check"]["failures"][0]["actors"] == [["add(1)"], ["add(1)"]]
    assert [cell["mark"] for cell in whole["check"]["matrix"]] == ["✗", "✓", "✓"]
    page = (module / "o.html").read_text()
    HTMLParser().feed(page)
    assert '<td class="no"' in page
    assert "http" not in page


def test_a_token_can_be_stepped_through(module):
    found = simharness.check.run("counting.py:Counter", ("add(1)",), threads=2, calls=1)
    done = CliRunner().invoke(
        app,
        ["check", "counting.py:Counter", "--op", "add(1)", "--lines", "--step", found.failures[0].counterexample.token],
        input="q\n",
        prog_name="simharness",
    )
    assert done.exit_code == 0, done.output
    assert "simharness check counting.py:Counter --op 'add(1)' --replay 'Counter:program=add" in done.output


def test_a_class_without_a_violation_gives_status_0(module):
    result = cli("counting.py:Counter", "--op", "get()", "--threads", 2, "--calls", 1)
    assert result.exit_code == 0, result.output
    assert "✓ means: no violation in programs of 1+1" in result.output


BAD = [
    (["counting.py:Nope"], "has no class 'Nope'; it has: Counter, Picky, Broken, Random, Failing, Nothing"),
    (["counting.py"], "names no class: write MODULE:CLASS"),
    (["nowhere:Counter"], "nowhere: no such file or module"),
    (["counting.py:NUMBER"], "is not a class: it is 1"),
    (["counting.py:Counter("], "is not a class: write MODULE:CLASS"),
    (["counting.py:Counter(1)"], "cannot be built: Counter(1) raises TypeError"),
    (["counting.py:Picky"], "cannot be built: nothing is known about it: Unknown; say how"),
    (["counting.py:Broken"], "cannot be built: Broken() raises RuntimeError: not today; say how"),
    (["counting.py:Nothing"], "has no operation to call: it has no public method"),
    (["counting.py:Counter", "--op", "sub(1)"], "Counter has no operation 'sub'; it has: add, get"),
    (["counting.py:Counter", "--op", "add("], "'add(' is not a call"),
    (["counting.py:Counter", "--op", "add(nothing)"], "its arguments cannot be evaluated: NameError"),
    (["counting.py:Counter", "--state", "self."], "is not an expression"),
    (["counting.py:Counter", "--spec", "strict"], "is no specification: give one of serializable"),
    (["counting.py:Counter", "--spec", "quiescent,serializable"], "check it alone"),
    (["counting.py:Counter", "--threads", "1"], "programs have from 2 to 6 actors"),
    (["counting.py:Counter", "--strategy", "best"], "best"),
    (["counting.py:Counter", "--replay", "x"], "is not a replay token"),
    (["counting.py:Counter", "--replay", "Counter:program=zip%28%29:a1:000000"], "Counter has no operation 'zip'"),
    (["counting.py:Counter", "--replay", "Counter::a1:000000"], "names no program of calls"),
    (["counting.py:Failing"], "every call raises when it is made alone"),
    (["counting.py:Counter", "--json", "/nowhere/o.json"], "/nowhere"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=lambda value: None if isinstance(value, str) else " ".join(value))
def test_bad_input_is_one_line_that_says_what_to_do(module, arguments, said):
    result = cli(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().split("\n")) == 1


def test_an_operation_that_is_not_deterministic_is_named(module):
    with pytest.raises((Misuse, Nondeterminism), match=r"draw\(\)|not deterministic|different"):
        simharness.check.run("counting.py:Random")


def test_a_token_of_another_class_is_refused():
    target = target_of(LockedCounter)
    with pytest.raises(TokenError, match="belongs to scenario 'Counter'"):
        scenario_of_token(target, "Counter:program=get%28%29:a1:000000", how_of(target))


@pytest.mark.parametrize("options", [{"treads": 2}, {"spec": "strict"}, {"strategy": "best"}])
def test_a_wrong_option_of_the_decorator_is_refused_where_it_stands(options):
    with pytest.raises(Misuse):
        simharness.check.target(**options)(Counter)


# pytest

MARKED = """
import simharness
import simharness.check
from simharness.check import operation

class Table:
    def __init__(self):
        self.items = {}

@simharness.check.target(threads=2, calls=1)
class Checked:
    def __init__(self):
        self.table = Table()

    @operation(key=["a"], value=[0, 1])
    def put(self, key, value):
        if key not in self.table.items:
            self.table.items[key] = value
        return self.table.items[key]

    @operation(key=["a"])
    def get(self, key):
        return self.table.items.get(key)

    def state(self):
        return dict(self.table.items)

def test_beside():
    pass
"""


def test_pytest_collects_a_marked_class_and_fails_the_test_of_the_operations_that_fail(tmp_path):
    (tmp_path / "test_table.py").write_text(MARKED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    plugin = ["-p", "simharness.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "test_table.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_table.py::Checked::put beside put" in done.stdout
    assert "✗ put beside put: serializable" in done.stdout
    assert "simharness check test_table.py:Checked --replay Checked:program=" in done.stdout


def test_the_planted_classes_are_twenty():
    assert len(PLANTED) == 20
    assert {cls.__module__ for pair in PLANTED for cls in pair} == {checked_classes.__name__}


def test_calls_that_make_no_step_are_no_verdict():
    found = simharness.check.run("collections:OrderedDict", ("move_to_end(1)", "clear()", "popitem()", "keys()"), threads=2, calls=1)
    assert found.verdict == "inconclusive"
    assert {one.reason for one in found.unsettled} == {"its calls make no step: written in C, or not instrumented"}
    assert found.cell("clear", "popitem").mark == "?"


class Reads:
    """Adds under a lock, and reads without it: each value is that of some serial order."""

    def __init__(self):
        self.n = 0
        self.lock = threading.Lock()

    def add(self):
        with self.lock:
            self.n += 1

    def value(self) -> int:
        return self.n


class ReadsUnderTheLock(Reads):
    def value(self) -> int:
        with self.lock:
            return self.n


def test_data_races_of_a_class_are_failures_on_request_and_those_on_purpose_are_allowed():
    assert quick(Reads).verdict == "verified"
    racy = quick(Reads, races="fail")
    assert (racy.cell("add", "value").mark, racy.cell("add", "add").mark) == ("✗", "✓")
    assert {failure.violates for failure in racy.failures} == {"data race"}
    assert quick(Reads, races="fail", allowed_races=("Reads.n: a stale value is fine",)).verdict == "verified"
    assert quick(ReadsUnderTheLock, races="fail").verdict == "verified"
