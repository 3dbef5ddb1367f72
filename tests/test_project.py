"""The project's own modules are instrumented without being named; what is not, and what is said where that is too much."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import simharness
from simharness import Settings
from simharness.authoring.loading import load
from simharness.instrument.project import of_root, root_of

pytest_plugins = ["pytester"]
_numbers = itertools.count(1)
SHOP = """
    class Tickets:
        def __init__(self, left):
            self.left = left

        def buy(self):
            if self.left > 0:
                self.left -= 1
"""
SCENARIO = """
    import simharness
    {imports}

    @simharness.scenario({options})
    def last_ticket(world):
        {inside}
        tickets = Tickets(1)
        world.actor("a", tickets.buy)
        world.actor("b", tickets.buy)

        @world.at_end
        def sold_once():
            assert tickets.left == 0
"""
TEST = """
    import threading
    import pytest
    {imports}

    @pytest.mark.interleave{options}
    def test_last_ticket():
        {inside}
        tickets = Tickets(1)
        threads = [threading.Thread(target=tickets.buy) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert tickets.left == 0
"""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A project with a package of a name of its own; return (folder, name of the package)."""
    name = f"shop_{next(_numbers)}"
    (tmp_path / "pyproject.toml").write_text("")
    write(tmp_path, **{f"{name}__tickets": SHOP, f"{name}__pack": ""})
    (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path, name


def explored(folder, name, options="", lazily=False, **settings):
    line = f"from {name}.tickets import Tickets"
    scenario = f"user_{next(_numbers)}"
    write(
        folder,
        **{f"scenarios__{scenario}": SCENARIO.format(imports="" if lazily else line, inside=line if lazily else "", options=options)},
    )
    (loaded,) = load(f"{folder}/scenarios/{scenario}.py")
    return simharness.explore(loaded, settings=Settings(confirm=False, **settings))


@pytest.mark.parametrize("lazily", [False, True])
def test_a_module_that_a_scenario_imports_is_instrumented_without_being_named(shop, lazily):
    result = explored(*shop, lazily=lazily)
    assert result.verdict == "violated"
    assert shop[1] in result.bounds


@pytest.mark.parametrize("where", ["scenario", "settings"])
def test_only_the_scenarios_own_module_is_instrumented_if_that_is_asked_for(shop, where):
    result = explored(*shop, "instrument='test'") if where == "scenario" else explored(*shop, instrument="test")
    assert result.verdict == "verified"
    assert result.remarks == (f"except for the memory of {shop[1]}.tickets",)


def test_a_module_in_an_environment_below_the_project_is_not_the_projects(tmp_path, monkeypatch):
    name = f"installed_{next(_numbers)}"
    write(tmp_path / "env", **{f"lib__{name}__tickets": SHOP})
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "env" / "lib"))
    assert explored(tmp_path, name).verdict == "verified"


def test_the_root_is_the_nearest_folder_with_a_projects_file_or_the_files_own(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert root_of(str(inner / "x.py")) == str(inner)
    (tmp_path / "a" / "setup.cfg").write_text("")
    assert root_of(str(inner / "x.py")) == str(tmp_path / "a")


def test_functions_have_their_own_code_again_after_the_exploration(shop):
    folder, name = shop
    tickets = __import__(f"{name}.tickets", fromlist=["Tickets"])
    before = tickets.Tickets.buy.__code__
    with of_root(str(folder)).announcing():
        assert tickets.Tickets.buy.__code__ is not before
        made_inside = tickets.Tickets(1)
    assert tickets.Tickets.buy.__code__ is before
    made_inside.buy()
    assert explored(folder, name).verdict == "violated"
    assert explored(folder, name).verdict == "violated"
    assert tickets.Tickets.buy.__code__ is before


LATER = """
    import simharness
    from {name} import makes
    box, add = makes.Box(), None

    @simharness.scenario
    def twice(world):
        box.n = 0
        world.actor("a", add)
        world.actor("b", add)

        @world.at_end
        def both():
            assert box.n == 2
"""


def test_a_function_that_was_made_between_two_explorations_is_seen(shop):
    folder, name = shop
    write(folder, **{f"{name}__makes": "def adder(box):\n    def add():\n        box.n += 1\n    return add\n\nclass Box:\n    n = 0\n"})
    makes = __import__(f"{name}.makes", fromlist=["adder"])
    write(folder, later=LATER.format(name=name))
    (scenario,) = load(f"{folder}/later.py")
    module = sys.modules[scenario.__module__]
    for _ in range(2):
        module.add = makes.adder(module.box)
        assert simharness.explore(scenario, settings=Settings(confirm=False)).verdict == "violated"


@pytest.mark.parametrize(("options", "verdict"), [("", "violated"), ("(instrument='test')", "verified")])
def test_a_marked_test_sees_the_modules_below_the_rootdir(pytester, shop, options, verdict):
    _, name = shop
    pytester.makepyfile(**{f"{name}b/__init__": "", f"{name}b/tickets": textwrap.dedent(SHOP)})
    line = f"from {name}b.tickets import Tickets"
    pytester.makepyfile(test_it=textwrap.dedent(TEST.format(imports=line, inside="", options=options)))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert f"{verdict} " in result.stdout.str()
    assert (f"except for the memory of {name}b.tickets" in result.stdout.str()) is (verdict == "verified")


def test_a_name_in_the_ini_file_is_written_as_anyone_would(pytester, shop):
    folder, name = shop
    pytester.makeini(f"[pytest]\npythonpath = {folder}\ninterleave = instrument={name}")
    pytester.makepyfile(test_it=textwrap.dedent(TEST.format(imports=f"from {name}.tickets import Tickets", inside="", options="")))
    assert "violated " in pytester.runpytest_subprocess("-p", "no:cacheprovider").stdout.str()


def test_modules_of_other_tests_are_left_alone(pytester):
    body = textwrap.dedent(TEST.format(imports="", inside="from test_other import Tickets", options=""))
    pytester.makepyfile(test_other=textwrap.dedent(SHOP) + "\n\ndef test_nothing():\n    pass\n", test_it=body)
    out = pytester.runpytest_subprocess("-p", "no:cacheprovider").stdout.str()
    assert "except for the memory of test_other" in out


WIDE = """
    class Log:
        def __init__(self):
            self.n = 0

        def write(self):
            for _ in range(8):
                self.n += 1
"""
LOCKED = """
    import threading
    import pytest
    from {name} import Log

    @pytest.mark.interleave(max_executions=40{options})
    def test_wide():
        log, lock = Log(), threading.Lock()

        def work():
            log.write()
            with lock:
                pass

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {check}
"""


@pytest.mark.parametrize("accepted", [False, True])
def test_where_the_whole_does_not_end_the_narrow_exploration_is_finished_and_named(pytester, accepted):
    pytester.makepyfile(wide=textwrap.dedent(WIDE))
    options = ', inconclusive="pass"' if accepted else ""
    pytester.makepyfile(test_it=textwrap.dedent(LOCKED.format(name="wide", options=options, check="log.n > 0")))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert "proved: no failure without the memory of wide" in result.stdout.str()
    result.assert_outcomes(passed=int(accepted), failed=int(not accepted))


def test_a_failure_that_only_the_narrow_exploration_finds_is_replayed(shop):
    folder, name = shop
    write(folder, **{f"{name}__wide": WIDE, "scenarios__narrow": f"""
    import threading
    import simharness
    from {name}.wide import Log

    @simharness.scenario
    def narrow(world):
        log, locks, order = Log(), [threading.Lock() for _ in range(6)], []

        def work(name):
            log.write()
            for lock in locks:
                with lock:
                    order.append(name)

        world.actor("a", work, "a")
        world.actor("b", work, "b")

        @world.at_end
        def never():
            assert "".join(order) != "aabbaababbab"
    """})  # fmt: skip
    (scenario,) = load(f"{folder}/scenarios/narrow.py")
    result = simharness.explore(scenario, settings=Settings(confirm=False, max_executions=300, shrink=0))
    assert result.verdict == "violated", result.bounds
    assert "narrow" in result.counterexample.token
    assert simharness.replay(scenario, result.counterexample.token).failure == result.counterexample.failure


def test_a_project_installed_in_editable_form_is_instrumented_from_its_folder(tmp_path):
    name = f"edited_{next(_numbers)}"
    write(tmp_path / "src", **{f"{name}__tickets": SHOP})
    (tmp_path / "pyproject.toml").write_text("")
    line = f"from {name}.tickets import Tickets"
    write(tmp_path, user=SCENARIO.format(imports=line, inside="", options=""))
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path / 'src')!r}); from simharness.cli.main import main; main()",
    ]
    done = subprocess.run([*command, "explore", "user.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "violated" in done.stdout.lower(), done.stdout + done.stderr
