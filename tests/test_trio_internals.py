"""What of Trio's internals simharness uses is there and means what it meant: fails with a release of Trio that changes them."""

import ast
import inspect
import pathlib
import subprocess
import sys
import textwrap
import threading
import tomllib

import pytest
import pytest_trio.plugin
import trio
from trio._core import _run

import simharness
from simharness import Misuse
from simharness.runtimes.trio import fixtures as trio_fixtures
from simharness.runtimes.trio import internals as trio_internals
from simharness.runtimes.trio import order as trio_order


@pytest.mark.parametrize("owner", list(trio_internals.REACHED), ids=lambda owner: owner.__name__)
def test_the_names_that_are_used_exist(owner):
    names = {*dir(owner), *(field.name for field in getattr(owner, "__attrs_attrs__", ()))}
    assert set(trio_internals.REACHED[owner]) <= names


def test_every_attribute_of_trios_private_modules_that_is_used_exists():
    for node in ast.walk(ast.parse(inspect.getsource(trio_internals))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id.startswith("_"):
            module = getattr(trio_internals, node.value.id, None)
            assert hasattr(module, node.attr), f"{node.value.id}.{node.attr}"


def test_the_loop_uses_the_run_queue_the_waiting_and_the_deadlines_in_the_ways_that_are_provided_for():
    tree = ast.parse(textwrap.dedent(inspect.getsource(_run.unrolled_run)))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    of = lambda what: {name.removeprefix(what) for name in used if name.startswith(what)}  # noqa: E731
    assert of("runner.runq.") == {"clear"}
    assert of("runner.io_manager.") == {"process_events"}
    assert of("runner.deadlines.") == {"next_deadline", "expire"}
    assert of("runner.entry_queue.") == {"wakeup", "wakeup.wakeup_on_signals"}
    assert of("_r.") == {"random", "shuffle"}
    assert "list(runner.runq)" in ast.unparse(tree)


def test_what_queues_tasks_is_reschedule_alone():
    source = inspect.getsource(_run)
    assert source.count("runq.append(") == 1
    assert "self.runq.append(task)" in inspect.getsource(_run.Runner.reschedule)


def test_a_nursery_holds_its_children_in_a_set():
    assert "self._children: set[Task] = set()" in inspect.getsource(_run)


def test_the_sets_of_pytest_trio_whose_order_matters_are_the_known_ones():
    tree = ast.parse(inspect.getsource(pytest_trio.plugin))
    made = {
        (owner.name, ast.unparse(node.targets[0]).removeprefix("self."))
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for node in ast.walk(owner)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "set()" and ast.unparse(node.targets[0]).startswith("self.")
    }
    of_fixtures = {("TrioTestContext", "fixtures_with_errors"), ("TrioTestContext", "fixtures_with_cancel")}
    assert made == {(name, attribute) for name, reached in trio_fixtures.REACHED.items() for attribute in reached} | of_fixtures


def test_trios_own_system_tasks_are_the_known_ones():
    seen = set()

    class Spawned(trio.abc.Instrument):
        def task_spawned(self, task):
            seen.add((task.coro.cr_code.co_qualname, trio_internals.is_own(task)))

    async def main():
        trio.lowlevel.spawn_system_task(trio.sleep, 0)
        await trio.lowlevel.checkpoint()

    trio.run(main, instruments=[Spawned()])
    assert {name for name, own in seen if own} == {"Runner.init", "EntryQueue.task"}
    assert {name for name, own in seen if not own} == {f"{main.__qualname__}", "sleep"}


def test_trio_is_not_imported_by_simharness():
    program = (
        "import sys, simharness, simharness.cli; simharness.explore(lambda world: world.actor('a', print)); print('trio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")


def test_the_releases_of_trio_that_are_known_are_those_of_the_extra():
    project = tomllib.loads((pathlib.Path(__file__).parent.parent / "pyproject.toml").read_text())
    (wanted,) = project["project"]["optional-dependencies"]["trio"]
    first, before = (".".join(map(str, release)) for release in (trio_order.FIRST, trio_order.BEFORE))
    assert wanted == f"trio>={first},<{before}"


@pytest.mark.alone
@pytest.mark.parametrize("release", ["0.22.2", "0.36.0", "1.0.0"])
def test_another_release_of_trio_is_refused_in_one_line_where_it_is_run_and_not_where_it_is_only_imported(monkeypatch, release):
    monkeypatch.setattr(trio, "__version__", release)

    async def nothing():
        pass

    def runs():
        trio.run(nothing)

    def threads():
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

    assert simharness.explore(threads).verdict == "verified"
    for program in (nothing, runs):
        with pytest.raises(Misuse, match=rf"trio {release} is not supported, but 0\.33 to 0\.35: pip install 'simharness\[trio\]'"):
            simharness.explore(program)
