"""The project's laws, held by looking: who imports whom, what is put back, how large things are, what "the same run" means."""

from __future__ import annotations

import ast
import asyncio
import datetime
import gc
import inspect
import itertools
import logging
import os
import queue
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

import simharness
from simharness import Verdict, World
from simharness.engine.kinds import declared
from simharness.runtimes.control import installed

pytestmark = pytest.mark.alone
ROOT = Path(__file__).parent.parent
MODULES = [threading, time, sqlite3, random, os, queue, logging, datetime, uuid, asyncio, subprocess, socket]
CLASSES = [
    threading.Thread,
    threading.Event,
    threading.Condition,
    threading.Semaphore,
    threading.Barrier,
    threading.Timer,
    queue.Queue,
    random.Random,
    datetime.datetime,
    datetime.date,
    socket.socket,
    subprocess.Popen,
    asyncio.AbstractEventLoop,
]
MODULE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 7
DRAWN = (random.random,)
"""A reference that no runtime replaces: it is kept in a tuple."""


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize(
    ("package", "foreign"), [("simharness", {"hermes_state", "scenarios"}), ("hermes_state", {"simharness", "scenarios"})]
)
def test_a_package_imports_none_of_the_others(package, foreign):
    files = sources(package)
    assert files
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not foreign & set(imported(tree)), file
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level > 2], file


def test_modules_and_functions_of_the_engine_are_small():
    for file in sources("simharness"):
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MODULE_LINES, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                assert size <= FUNCTION_LINES, f"{file}: {node.name} has {size} lines"


def public_calls():
    """The functions of the face, and the methods of its classes.

    A record's constructor is none: a `Settings` is where options are gathered so that calls need few, and results are made by the harness.
    A scenario is made by `scenario`. A command's options are no parameters of a public call either: typer makes an option of each.
    """
    for name in simharness.__all__:
        value = getattr(simharness, name)
        if inspect.isclass(value):
            yield from (method for key, method in inspect.getmembers(value, inspect.isroutine) if not key.startswith("_"))
        else:
            yield value


def test_public_calls_have_few_parameters():
    calls = [call for call in public_calls() if str(getattr(call, "__module__", "")).startswith("simharness.")]
    assert simharness.explore in calls
    assert World.actor in calls
    for call in calls:
        names = [name for name in inspect.signature(call).parameters if name != "self"]
        assert len(names) <= PARAMETERS, f"{call.__qualname__} has {len(names)} parameters"


def module_name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_imported(file, modules):
    """Yield what a file imports of the project: the module, and whether a comment there says why that may be a circle.

    Imports inside functions and under `TYPE_CHECKING` count.
    """
    package, text = file.relative_to(ROOT).parent.parts, file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            comments = [line.partition("#")[2] for line in text.splitlines()[node.lineno - 1 : node.end_lineno]]
            yield from ((name, any("circle" in comment for comment in comments)) for name in names_of(node, package, modules))


def names_of(node, package, modules):
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name in modules)
    else:
        start = package[: len(package) - node.level + 1] if node.level else ()
        source = ".".join((*start, *filter(None, [node.module])))
        for name in node.names:
            yield from [module for module in (f"{source}.{name.name}", source) if module in modules][:1]


def circles(imports):
    """Return the strongly connected components of more than one node (Tarjan, 1972), as sorted lists."""
    index, lowest, stack, components = {}, {}, [], []

    def visit(node):
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for other in imports[node]:
            if other not in index:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], index[other])
        if lowest[node] == index[node]:
            first = stack.index(node)
            component = sorted(stack[first:])
            del stack[first:]
            if len(component) > 1:
                components.append(component)

    for node in imports:
        if node not in index:
            visit(node)
    return components


def test_a_circle_is_found_with_all_that_is_in_it():
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
    assert circles({"a": ["b"], "b": ["c", "d"], "c": ["b"], "d": ["e"], "e": ["d", "c"], "f": ["a"]}) == [["b", "c", "d", "e"]]


def test_no_modules_import_each_other_in_a_circle_unless_a_comment_at_the_import_says_why():
    files = {module_name(file): file for file in sources("simharness")}
    imports = {name: [*modules_imported(file, files)] for name, file in files.items()}
    assert ("simharness.engine.record", False) in imports["simharness.engine.kernel"]
    assert circles({name: [other for other, excused in found if not excused] for name, found in imports.items()}) == []
    whole = circles({name: [other for other, _ in found] for name, found in imports.items()})
    excuses = [(name, other) for name, found in imports.items() for other, excused in found if excused]
    assert [pair for pair in excuses if not any({*pair} <= {*circle} for circle in whole)] == []


def test_kept_databases_know_nothing_of_the_runtime_around_them():
    files = {module_name(file): file for file in sources("simharness")}
    kept = "simharness.runtimes.sqlite.kept"
    for name, file in files.items():
        if name.startswith(kept):
            assert [other for other, _ in modules_imported(file, files) if "runtimes" in other and not other.startswith(kept)] == []


def _base(node):
    """The expression that an assignment's target hangs on, and the names on the way to it, outermost first."""
    names = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        node = node.value
    return [*reversed([*names, getattr(node, "id", "")])]


def test_nobody_outside_the_engine_assigns_to_the_state_of_a_kernel():
    """What a runtime keeps for one execution, in `kernel.context`, is its own."""
    for file in sources("simharness"):
        if file.parent.name == "engine":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            targets = (
                node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
            )
            for target in targets:
                path = _base(target)
                inside = next((path[rank + 1 :] for rank, name in enumerate(path) if name in {"kernel", "_kernel"}), [])
                assert not inside or inside == ["context"], f"{file}:{node.lineno}: {ast.unparse(target)}"


# What a step is


OTHER_KINDS = {"scopes.py", "bounds.py", "kinds.py"}
"""Modules where `kind` is another thing: of a binding of a name, of a bound, of memory; and the declarations' own."""
OF_TEXTS = {"startswith", "endswith", "partition", "rpartition", "split", "rsplit", "removeprefix", "removesuffix", "find", "index"}


def is_kind(node):
    """Whether an expression is the kind of a step, or its text."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str" and node.args:
        return is_kind(node.args[0])
    return (isinstance(node, ast.Attribute) and node.attr == "kind") or (isinstance(node, ast.Name) and node.id == "kind")


def has_text(node):
    return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))


def takes_apart(node):
    """Whether a node compares the text of a kind, or takes it apart."""
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return any(isinstance(side, ast.Attribute) and is_kind(side) for side in sides) and any(map(has_text, sides))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OF_TEXTS:
        return is_kind(node.func.value)
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute | ast.Call) and is_kind(node.value)


@pytest.mark.parametrize(
    "source", ["step.kind == 'sleep'", "'a' in step.kind", "step.kind in ('a', B)", "kind.partition('.')", "str(s.kind)[:3]"]
)
def test_the_law_of_kinds_sees_what_it_forbids(source):
    assert any(takes_apart(node) for node in ast.walk(ast.parse(source)))


def test_nobody_compares_the_text_of_a_step_s_kind_or_takes_it_apart():
    texts = {text for text in declared() if "." in text}
    assert {"lock.acquire", "clock.advance", "queue.get", "sqlite.rollback"} <= texts
    for file in sources("simharness"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            where = f"{file}:{getattr(node, 'lineno', 0)}"
            assert file.name in OTHER_KINDS or not takes_apart(node), where
            assert not isinstance(node, ast.Constant) or node.value not in texts - {"trio.run"}, where  # a name of Trio's, too
            made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Operation"
            assert not (made and has_text(node.args[0])), where


# What is put back


def everything():
    """Each attribute of the modules and classes that a simulation may replace."""
    return {
        (owner.__name__, name): value
        for owner in [*MODULES, *CLASSES]
        for name, value in vars(owner).items()
        if name not in {"__warningregistry__", "_dangling", "_active", "_shutdown_locks", "_shutdown_thread_locks", "_inst"}
    }


def busy(world):
    lock = threading.Lock()

    def work():
        with lock:
            time.sleep(0.5)
        world.outcome(random.random() < 2)

    world.actor("a", work)
    world.actor("b", work)


def broken_set_up(world):
    raise LookupError


def broken_check(world):
    busy(world)

    @world.always
    def raises():
        raise LookupError


@pytest.mark.parametrize("scenario", [busy, broken_set_up, broken_check])
def test_after_an_exploration_and_after_an_error_everything_is_the_original_object(scenario):
    random.Random("text")  # from Python 3.13 on, `random` makes a global of its own when it is first seeded with one
    before = everything()
    if scenario is busy:
        assert simharness.explore(scenario).verdict is Verdict.VERIFIED
    else:
        with pytest.raises(simharness.Misuse):
            simharness.explore(scenario)
    after = everything()
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if after[name] is not value] == []


def handed_over(lock, event, jobs):
    """Use these with a real thread: it takes a job, under the lock, and says so."""

    def work():
        with lock:
            jobs.put(jobs.get(timeout=5) + 1)
        event.set()

    jobs.put(1)
    thread = threading.Thread(target=work)
    thread.start()
    assert event.wait(5)
    thread.join()
    assert not lock.locked()
    return jobs.get(timeout=5)


def test_locks_events_and_queues_made_in_or_before_a_simulation_work_with_real_threads_afterwards():
    before = (threading.Lock(), threading.Event(), queue.Queue())
    inside = []

    def scenario(world):
        made = (threading.Lock(), threading.Event(), queue.Queue())
        inside[:] = [made]

        def work():
            for lock, event, jobs in (before, made):
                with lock:
                    jobs.put(5)
                event.set()
                jobs.get()
                event.clear()

        world.actor("a", work)

    assert simharness.explore(scenario).verdict is Verdict.VERIFIED
    assert handed_over(*before) == 2
    assert handed_over(*inside[0]) == 2


def test_a_real_thread_that_runs_during_an_exploration_is_not_disturbed():
    stop, rounds, problems = threading.Event(), [], []

    def real():
        try:
            while not stop.is_set():
                lock, jobs = threading.Lock(), queue.Queue()
                helper = threading.Thread(target=jobs.put, args=(threading.get_ident(),))
                with lock:
                    helper.start()
                    assert jobs.get(timeout=5) == threading.get_ident()
                helper.join()
                connection = sqlite3.connect(":memory:")
                assert type(connection) is sqlite3.Connection
                assert connection.execute("SELECT 1").fetchone() == (1,)
                connection.close()
                assert abs(time.time() - datetime.datetime.now().timestamp()) < 60
                rounds.append(time.time())
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=real)
    thread.start()
    began = time.time()
    with installed():
        while len(rounds) < 5 and not problems:
            assert simharness.explore(busy).verdict is Verdict.VERIFIED
    stop.set()
    thread.join()
    assert not problems
    assert all(moment >= began - 60 for moment in rounds)


def test_overlapping_blocks_leave_everything_genuine_whichever_ends_last():
    genuine = threading.Lock
    first, second = installed(), installed()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threading.Lock is not genuine
    second.__exit__(None, None, None)
    assert threading.Lock is genuine


# What the same run is


def failing(world):
    busy(world)

    @world.at_end
    def never():
        raise AssertionError("at the end")


def test_a_schedule_that_is_run_twice_gives_an_equal_trace():
    token = simharness.explore(failing).counterexample.token
    one, two = (simharness.replay(failing, token) for _ in range(2))
    assert one.timeline == two.timeline
    assert repr(one.steps) == repr(two.steps)
    assert one.failure == two.failure


def test_a_counter_kept_between_executions_is_nondeterminism_that_names_the_first_difference():
    writes = itertools.count()

    def checkpoints(world):
        def work():
            world.step("write")
            world.step("checkpoint" if next(writes) % 2 else "no checkpoint")

        world.actor("a", work)

    with pytest.raises(simharness.Nondeterminism, match=r"step 2 was «a step no checkpoint».*«a step checkpoint»"):
        simharness.explore(checkpoints)


def test_real_randomness_reached_through_a_tuple_is_nondeterminism():
    def draws(world):
        def work():
            world.step(f"drew {DRAWN[0]()}")

        world.actor("a", work)

    with pytest.raises(simharness.Nondeterminism, match=r"step 1 was «a step drew 0\.\d+».*«a step drew 0\.\d+»"):
        simharness.explore(draws)


NAMES_IN_A_SET = """
import sys, simharness

ALL = {"alpha", "beta", "gamma", "delta"}

def scenario(world):
    cell = world.shared(0, "cell")

    def add(name):
        world.step(name)
        cell.set(cell.get() + 1)

    for name in NAMES:
        world.actor(name, add, name)

    @world.at_end
    def counted():
        assert cell.get() == 4

if len(sys.argv) == 1:
    print(simharness.explore(scenario).counterexample.token)
else:
    print(simharness.replay(scenario, sys.argv[1]).timeline)
"""


def run(program, seed, *arguments):
    """Run a program with this hash seed; return its exit status, output and last line of complaint."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


def test_the_harness_itself_does_not_depend_on_the_hash_seed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(NAMES_IN_A_SET.replace("NAMES", "sorted(ALL)"), encoding="utf-8")
    found = [run(program, seed) for seed in ("1", "2")]
    assert found[0] == found[1]
    token = found[0][1].strip()
    one, two = (run(program, seed, token) for seed in ("1", "2"))
    assert one == two
    assert one[0] == 0
    assert "counted does not hold" in one[1]


def test_a_token_of_a_scenario_that_goes_through_a_set_is_refused_under_a_hash_seed_that_orders_it_otherwise(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(NAMES_IN_A_SET.replace("NAMES", "ALL"), encoding="utf-8")
    token = run(program, "1")[1].strip()
    assert run(program, "1", token)[0] == 0
    status, _, complaint = run(program, "2", token)
    assert status != 0
    assert "TokenError" in complaint


# What is kept


@pytest.mark.long
def test_three_thousand_executions_leave_no_objects_behind():
    def explored(executions):
        """Return how many objects there are more after so many executions of a tiny scenario."""

        def scenario(world):
            cell = world.shared(0, "cell")
            lock = threading.Lock()

            def work():
                for _ in range(4):
                    with lock:
                        cell.add(1)

            for name in "abc":
                world.actor(name, work)

        gc.collect()
        before = len(gc.get_objects())
        result = simharness.explore(scenario, settings=simharness.Settings(max_executions=executions))
        assert result.executions == executions
        del result
        gc.collect()
        return len(gc.get_objects()) - before

    with installed():
        explored(50)
        few, many = explored(50), explored(3_000)
    assert many - few < 300
