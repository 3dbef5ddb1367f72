"""What the public face says is true: names, options, dotted paths and docstrings exist; nothing is imported before it is needed."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib
import inspect
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import pytest
import typer.main

import simharness
from simharness import Misuse, Settings, Verdict, World
from simharness.authoring.loading import load
from simharness.authoring.world import Cell
from simharness.cli.main import app
from simharness.runtimes.memory.eval_loop import unknown

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
SOURCES = sorted((ROOT / "simharness").rglob("*.py"))


# Names


def imported_for_type_checkers():
    """The names that `simharness/__init__.py` imports for type checkers, with the modules that they come from."""
    tree = ast.parse((ROOT / "simharness/__init__.py").read_text(encoding="utf-8"))
    return {
        name.name: statement.module.removeprefix("simharness.")
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module != "importlib"
        for name in statement.names
    }


def test_each_public_name_is_there_and_type_checkers_see_it_where_it_is():
    homes = {name: home for home, names in simharness._HOMES.items() for name in names}
    assert homes == imported_for_type_checkers()
    assert sorted(homes) == simharness.__all__
    for name, home in homes.items():
        assert getattr(simharness, name) is vars(importlib.import_module(f"simharness.{home}"))[name]
        assert getattr(simharness, name).__module__ == f"simharness.{home}"
    assert set(simharness.__all__) <= set(dir(simharness))
    assert simharness.__version__


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'simharness' has no attribute 'nothing'"):
        simharness.nothing  # noqa: B018
    with pytest.raises(ImportError, match="nothing"):
        exec("from simharness import nothing")


def test_no_name_of_a_package_hides_a_module_of_it():
    packages = [file.parent for file in SOURCES if file.name == "__init__.py"]
    assert len(packages) > 10
    for folder in packages:
        package = importlib.import_module(".".join(folder.relative_to(ROOT).parts))
        modules = {file.stem for file in folder.glob("*.py")} | {inner.parent.name for inner in folder.glob("*/__init__.py")}
        for name in modules & {*vars(package), *getattr(package, "__all__", ())}:
            assert inspect.ismodule(getattr(package, name)), f"{package.__name__}.{name} hides a module"


# Docstrings


def section(docstring, title):
    """The names that a section of a docstring describes."""
    found = re.search(rf"^{title}:\n((?:(?:    .*)?\n?)*)", inspect.cleandoc(docstring or ""), re.MULTILINE)
    if found is None:
        return None
    return [name for names in re.findall(r"^    (\w+(?:, \w+)*): ", found[1], re.MULTILINE) for name in names.split(", ")]


def callables():
    """Each public function, and each public method of a public class."""
    for name in simharness.__all__:
        value = getattr(simharness, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value) and not issubclass(value, BaseException):
            for attribute, method in inspect.getmembers(value, inspect.isfunction):
                if not attribute.startswith("_"):
                    yield f"{name}.{attribute}", method


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize(("name", "function"), [pytest.param(*named, id=named[0]) for named in callables()])
def test_a_docstring_describes_parameters_that_there_are(name, function):
    assert inspect.getdoc(function)
    described = section(function.__doc__, "Args")
    if name == "scenario":
        own = set(parameters(simharness.Scenario.__init__)) - {"function", "matrix"}
        assert set(described) == own | {"options"}
    elif described is not None:
        assert set(described) <= set(parameters(function))


@pytest.mark.parametrize("name", ["explore", "explore_all", "replay"])
def test_the_docstrings_of_the_main_functions_describe_every_parameter(name):
    assert section(getattr(simharness, name).__doc__, "Args") == parameters(getattr(simharness, name))


RECORDS = [name for name in simharness.__all__ if dataclasses.is_dataclass(getattr(simharness, name))]


@pytest.mark.parametrize("name", RECORDS)
def test_a_docstring_of_a_record_describes_its_fields(name):
    record = getattr(simharness, name)
    described = section(record.__doc__, "Attributes")
    inherited = {field.name for base in record.__mro__[1:] if dataclasses.is_dataclass(base) for field in dataclasses.fields(base)}
    own = [field.name for field in dataclasses.fields(record) if field.name not in inherited]
    if described is None:
        assert not [field for field in own if not re.search(rf"`{field}`", record.__doc__)], "each field is named in the docstring"
    else:
        assert sorted(described) == sorted(own)


def test_the_docstring_of_a_scenario_describes_its_attributes():
    attributes = {name for name in vars(simharness.Scenario(lambda world: None)) if not name.startswith("_")}
    assert set(section(simharness.Scenario.__doc__, "Attributes")) == attributes


# Documented paths, attributes and options


def resolved(dotted):
    """What a dotted path names, importing modules on the way."""
    value = simharness
    for name in dotted.split(".")[1:]:
        if not hasattr(value, name):
            value = importlib.import_module(f"{value.__name__}.{name}") if inspect.ismodule(value) else getattr(value, name)
        else:
            value = getattr(value, name)
    return value


DOTTED = re.compile(r"(?<![\w./-])simharness(?:\.(?!py\b|md\b)\w+)+")


@pytest.mark.parametrize("page", TEXTS)
def test_each_dotted_path_of_a_page_leads_somewhere(page):
    for dotted in DOTTED.findall(TEXTS[page]):
        resolved(dotted)


@pytest.mark.parametrize("source", [str(source.relative_to(ROOT)) for source in SOURCES])
def test_each_dotted_path_in_the_source_leads_somewhere(source):
    for dotted in DOTTED.findall((ROOT / source).read_text(encoding="utf-8")):
        resolved(dotted)


HELD_BY = {
    "Settings": Settings,
    "Result": simharness.Result,
    "Counterexample": simharness.Counterexample,
    "Faults": simharness.Faults,
    "World": World,
    "Scenario": simharness.Scenario,
    "world": World,
    "result": simharness.Result,
    "counterexample": simharness.Counterexample,
}
ATTRIBUTE = re.compile(rf"(?<![\w.])({'|'.join(HELD_BY)})\.(\w+)")


def members(cls):
    return {
        *dir(cls),
        *(field.name for field in (dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ())),
        *(("clock",) * (cls is World)),
    }


@pytest.mark.parametrize("page", TEXTS)
def test_each_attribute_that_a_page_names_is_one(page):
    for holder, name in ATTRIBUTE.findall(TEXTS[page]):
        assert name in members(HELD_BY[holder]), f"{holder}.{name}"


@pytest.mark.parametrize("page", TEXTS)
def test_each_setting_that_a_page_names_is_one(page):
    for arguments in re.findall(r"Settings\(([^)]*)\)", TEXTS[page]):
        assert set(re.findall(r"(\w+)=", arguments)) <= {field.name for field in dataclasses.fields(Settings)}


def commands():
    """Each command with its options, and under "" those of the program."""
    group = typer.main.get_command(app)
    return {"": options_of(group), **{name: options_of(command) for name, command in group.commands.items()}}


def options_of(command):
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")} | {"--help"}


OTHERS = {"--interleave", "--interleave-abort", "--interleave-replay", "--pdb", "--lf", "--runxfail", "--timestamps", "--prefix"}
OTHERS |= {"--releases", "--questions", "--seconds", "--diff-filter", "--simulate"}
"""The options of the pytest plugin, which a test of its own holds, and of other programs."""
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


@pytest.mark.parametrize("page", TEXTS)
def test_each_option_that_a_page_names_exists(page):
    known = commands()
    for option in OPTION.findall(TEXTS[page]):
        assert option in OTHERS.union(*known.values()), option
    for command, rest in re.findall(r"simharness (\w+)\b([^`\n]*)", TEXTS[page]):
        if command in known and " | " not in rest:
            assert set(OPTION.findall(rest)) <= known[command], f"simharness {command}{rest}"
        assert command in known or not rest.startswith(" --"), command


def test_the_options_of_the_plugin_exist(pytestconfig):
    assert pytestconfig.getoption("interleave") is not None
    assert pytestconfig.getoption("interleave_replay", default=None) is None
    for ini in ("interleave", "interleave_corpus"):
        pytestconfig.getini(ini)


def test_each_option_of_the_command_line_has_a_help_text():
    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.param_type_name == "argument", f"{name} {parameter.name}"


def test_the_version_is_printed():
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"simharness {simharness.__version__}\n"


# What settings and options do


def lost_update(world):
    count = world.shared(0, "count")

    def bump():
        count.set(count.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both_counted():
        world.outcome(count.get())
        assert count.get() == 2


def draws(world):
    import random

    world.actor("a", lambda: world.outcome(random.random()))


def explored(strategy="dpor", scenario=lost_update, **settings):
    return simharness.explore(scenario, strategy, settings=Settings(**{"confirm": False, **settings}))


def spins(world):
    def spin():
        while True:
            pass

    world.actor("spinner", spin)


def watched():
    with pytest.raises(simharness.SimharnessError, match="stuck"):
        explored(scenario=spins, watchdog=0.2)


def confirmed(file):
    scenario = load(f"{file}::unguarded")[0]
    texts = [simharness.explore(scenario, settings=Settings(confirm=confirm)).counterexample.confirmed for confirm in (True, False)]
    return "fresh process" in texts[0] and "fresh process" not in texts[1]


def forked():
    ran = []

    def runs(world):
        ran.append(1)
        safe(world)

    in_children = explored(scenario=runs, isolation="fork").executions
    return not ran and in_children == explored(scenario=runs).executions < len(ran)


def safe(world):
    cells = [world.shared(0, name) for name in "xy"]
    for name in "ab":
        world.actor(name, lambda: [cell.set(1) for cell in cells])


def batched():
    scenario = load(f"{ROOT / 'scenarios/trio_races.py'}::lost_wake_up")[0]
    return "one batch" in explored(scenario=scenario, trio_order="batches").bounds


def on_asyncio():
    asyncio.run(asyncio.sleep(0))


def proved():
    result = explored(scenario=many_orderings, proof="preemptions<=0")
    return result.verdict is Verdict.VERIFIED and result.proved == ("preemptions<=0",)


def many_orderings(world):
    cells = [world.shared(0, name) for name in "xyz"]
    for name in "abc":
        world.actor(name, lambda: [cell.set(cell.get() + 1) for cell in cells])


def kept():
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "kept.json"
        return explored(checkpoint=str(file)).executions and "parts" in file.read_text(encoding="utf-8")


EFFECTS = {
    "max_executions": lambda: "max_executions=1" in explored(max_executions=1, scenario=draws, strategy="random").bounds,
    "max_seconds": lambda: "max_seconds=0" in explored(max_seconds=0.0).bounds,
    "max_steps": lambda: explored(max_steps=2).verdict is Verdict.INCONCLUSIVE,
    "preemptions": lambda: explored(preemptions=0).verdict is Verdict.VERIFIED,
    "delays": lambda: explored(delays=0).verdict is Verdict.VERIFIED,
    "proof": proved,
    "depth": lambda: len({explored("pct", depth=depth, max_executions=1).bounds for depth in (1, 2)}) == 2,
    "seed": lambda: len({explored(scenario=draws, seed=seed).outcomes for seed in (1, 2)}) == 2,
    "watchdog": lambda: watched() is None,
    "shrink": lambda: explored(shrink=0).counterexample.passing is None and explored().counterexample.passing is not None,
    "confirm": lambda: confirmed(ROOT / "scenarios/tutorial.py"),
    "instrument": lambda: "memory of programs" in explored(instrument=("programs",)).bounds,
    "trio_order": batched,
    "asyncio_order": lambda: "what the loop of CPython does" in explored(scenario=on_asyncio, asyncio_order="loop").bounds,
    "isolation": forked,
    "workers": lambda: explored(workers=2).verdict is explored().verdict,
    "cluster": lambda: refused(lambda: explored(cluster="local"), Misuse),  # without the package, or without a file
    "checkpoint": kept,
    "resume": lambda: refused(lambda: explored(resume="nowhere.json"), Misuse),
    "shard": lambda: "part 1 of 2" in explored(shard="1/2", shrink=0, scenario=draws).bounds,
    "reached": lambda: explored(reached=True).never_reached is not None and explored().never_reached is None,
    "outside": lambda: "outside: no network, no programs" in explored(outside="down").bounds,
    "network": lambda: "outside: no network" in explored(network="down").bounds,
    "programs": lambda: "outside: no programs" in explored(programs="none").bounds,
    "races": lambda: "data races fail" in explored(races="fail").bounds,
    "allowed_races": lambda: "but not on x.y: why" in explored(races="fail", allowed_races=("x.y: why",)).bounds,
    "atomicity": lambda: (
        "atomic as in the eval loop of" in explored(atomicity="gil").bounds
        if not unknown()
        else refused(lambda: explored(atomicity="gil"), Misuse)
    ),
}


def test_each_setting_has_a_case_below():
    assert list(EFFECTS) == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("setting", EFFECTS)
@pytest.mark.confirms
def test_a_setting_does_what_it_says(setting):
    assert EFFECTS[setting]()


@simharness.scenario(size=[1, 2])
def sized(world, size):
    world.actor("a", world.step, f"step {size}", process="p")
    world.outcome(size)


class Heard(simharness.Progress):
    def __init__(self):
        self.results = []

    def finished(self, result):
        self.results.append(result)


OPTIONS = {
    "explore": {
        "strategy": lambda: simharness.explore(lost_update, strategy="exhaustive").strategy == "exhaustive",
        "parameters": lambda: simharness.explore(sized, parameters={"size": 2}).outcomes == {2},
        "stop_on_first": lambda: (
            simharness.explore(lost_update, stop_on_first=False).executions > simharness.explore(lost_update).executions
        ),
        "faults": lambda: simharness.explore(sized, faults="crash=1").parameters["faults"] == "crash=1",
        "settings": lambda: simharness.explore(lost_update, settings=Settings(max_steps=2)).verdict is Verdict.INCONCLUSIVE,
        "progress": lambda: (heard := Heard()) and [simharness.explore(lost_update, progress=heard)] == heard.results,
    },
    "explore_all": {
        "strategy": lambda: {result.strategy for result in simharness.explore_all(sized, strategy="exhaustive")} == {"exhaustive"},
        "stop_on_first": lambda: simharness.explore_all(lost_update, stop_on_first=False)[0].executions > 2,
        "faults": lambda: [result.parameters["faults"] for result in simharness.explore_all(sized, faults="crash=1")] == ["crash=1"] * 2,
        "settings": lambda: simharness.explore_all(lost_update, settings=Settings(max_steps=2))[0].verdict is Verdict.INCONCLUSIVE,
        "progress": lambda: (heard := Heard()) and simharness.explore_all(sized, progress=heard) == heard.results,
    },
    "replay": {
        "token": lambda: "both_counted" in simharness.replay(lost_update, simharness.explore(lost_update).counterexample.token).failure,
        "parameters": lambda: refused(lambda: simharness.replay(sized, first_of(sized), {"size": 2}), simharness.TokenError),
        "settings": lambda: refused(
            lambda: simharness.replay(lost_update, first_of(lost_update), settings=Settings(instrument=("nowhere_at_all",))), Misuse
        ),
    },
}


def first_of(scenario):
    return simharness.explore(scenario).first.token


def refused(call, error):
    with pytest.raises(error):
        call()
    return True


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_of_a_main_function_has_a_case_below(name):
    assert ["target", *OPTIONS[name]] == parameters(getattr(simharness, name))


@pytest.mark.parametrize(("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options])
def test_an_option_does_what_it_says(name, option):
    assert OPTIONS[name][option]()


def test_every_public_method_of_the_world_and_of_a_cell_is_documented():
    internal = {"release", "only_at_end", "check_always"}
    text = "\n".join(TEXTS.values())
    for name in [name for name, _ in inspect.getmembers(World, inspect.isfunction) if not name.startswith("_")]:
        assert name in internal or f"world.{name}" in text, f"World.{name}"
    for name in [name for name, _ in inspect.getmembers(Cell, inspect.isfunction) if not name.startswith("_")]:
        assert f"`{name}`" in text or f"`{name}(" in text, f"Cell.{name}"


# What is imported, and when

COMMAND = [sys.executable, "-c", "from simharness.cli.main import main; main()"]
HEAVY = {"greenlet", "hypothesis", "outcome", "rich", "sqlite3", "textual", "trio", "typer"}


def loaded(code, *arguments, folder=None):
    """What a fresh process has imported after running this code: top-level packages, and modules of the harness."""
    tell = (
        "import atexit, json, os, sys\n"
        "atexit.register(lambda: print('\\nLOADED ' + json.dumps(sorted(sys.modules)), file=sys.__stdout__))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, "-c", tell + code, *arguments], capture_output=True, text=True, check=True, env=environment, cwd=folder
    )
    modules = json.loads(done.stdout.rpartition("LOADED ")[2])
    return {name for name in modules if "." not in name}, {name for name in modules if name.partition(".")[0] == "simharness"}


def test_importing_simharness_imports_nothing_else():
    before, _ = loaded("pass")
    after, ours = loaded("import simharness")
    assert after - before == {"simharness"}
    assert ours == {"simharness"}


PLUGIN = {"simharness", "simharness.pytest_plugin", "simharness.pytest_plugin.asked"}


@pytest.mark.parametrize("arguments", [(), ("-p", "simharness.pytest_plugin")])
def test_a_run_of_pytest_that_explores_nothing_imports_nothing_of_the_engine(tmp_path, arguments):
    (tmp_path / "test_bare.py").write_text("def test_nothing(tmp_path):\n    assert tmp_path\n", encoding="utf-8")
    packages, ours = loaded("import pytest; pytest.main(sys.argv[1:])", "-q", "-p", "no:cacheprovider", *arguments, folder=tmp_path)
    assert not packages & HEAVY
    assert ours == (PLUGIN if arguments else set())


def test_using_the_face_imports_no_front_end_and_no_library_that_the_scenario_does_not_use():
    packages, ours = loaded("import simharness; simharness.explore(lambda: None, settings=simharness.Settings(confirm=False))")
    assert not packages & {"hypothesis", "outcome", "pytest", "rich", "textual", "trio", "typer"}
    assert not [name for name in ours if re.match(r"simharness\.(cli|step|incident|report|pytest_plugin|hypothesis)\b", name)]


NOTHING_LATE = """
import threading, sqlite3, sys, time
import simharness

seen = []

def program(world):
    db = sqlite3.connect(world.path("a.db"), isolation_level=None)
    db.execute("CREATE TABLE t (x)")

    def work():
        with sqlite3.connect(world.path("a.db")) as mine:
            mine.execute("INSERT INTO t VALUES (1)")
        time.sleep(0.1)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        simharness.Faults, simharness.Progress, simharness.load

    world.actor("a", work)
    world.actor("b", work)
    seen.append({name for name in sys.modules if name.startswith("simharness")})

    @world.at_end
    def counted():
        seen.append({name for name in sys.modules if name.startswith("simharness")})

simharness.explore(program, settings=simharness.Settings(confirm=False))
assert len(seen) > 2
assert all(names == seen[0] for names in seen), set.union(*seen) - seen[0]
"""


def test_an_exploration_imports_nothing_of_the_harness_once_its_first_execution_has_begun():
    loaded(NOTHING_LATE)
