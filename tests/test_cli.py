"""The command line: exit statuses, one-line errors, tables, JSON, workers, Ctrl-C; in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simharness.cli.main import app

ROOT = Path(__file__).parent.parent
SCENARIOS = '''
import ctypes
import simharness

@simharness.scenario(protocol=["racy", "atomic"], property=["counted", "bounded"],
                     expect={"protocol=racy,property=counted": "violated"})
def counters(world, protocol, property):
    """Two bumps of one counter."""
    cell = world.shared(0, "counter")
    bump = (lambda: cell.add(1)) if protocol == "atomic" else (lambda: cell.set(cell.get() + 1))
    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def check():
        assert cell.get() == 2 if property == "counted" else cell.get() <= 2

@simharness.scenario
def unexpected(world):
    cell = world.shared(0, "cell")
    world.actor("a", cell.set, 1)
    world.actor("b", lambda: world.outcome(cell.get()))

    @world.at_end
    def never():
        assert False, "as it must"

@simharness.scenario
def undecided(world):
    world.actor("a", lambda: world.assume(False))

@simharness.scenario
def forgetful(world):
    with open("/proc/sys/kernel/random/uuid") as source:
        world.actor("a", world.step, source.read().strip())

@simharness.scenario
def long(world):
    def work():
        for _ in range(40):
            world.step("x", writes=["x"])
    world.actor("a", work)
    world.actor("b", work)

@simharness.scenario(expect="violated")
def fine(world):
    cell = world.shared(0, "cell")
    def bump():
        cell.set(cell.get() + 1)
    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def counted():
        assert cell.get() == 2

@simharness.scenario
def dies(world):
    ctypes.string_at(0)

def undecorated(world):
    world.actor("a", world.step, "x")
'''


def simharness(*arguments, **environment):
    """Run a command in this process, which saves a start."""
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "100", **environment}, prog_name="simharness")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def in_a_process(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "simharness", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **environment},
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "races.py"
    path.write_text(SCENARIOS)
    return path


def refused(run, status, *words):
    assert run.returncode == status, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    lines = [line for line in run.stderr.splitlines() if line.startswith("simharness: ")]
    assert len(lines) == 1, run.stderr
    for word in words:
        assert word in lines[0]


def test_a_matrix_as_expected_is_a_table_of_parameter_by_property_and_status_0(file):
    run = simharness("explore", f"{file}::counters")
    assert run.returncode == 0, run.stderr
    assert re.search(r"protocol +counted +bounded", run.stdout)
    assert re.search(r"racy +violated \d+ \d+\.\ds +verified 4 \d+\.\ds", run.stdout)
    assert "4 cases: 3 verified, 1 violated; all as expected" in run.stdout
    assert "violated, as expected" in run.stdout
    assert "✗ 4 │ set counter: 1 → 1" in run.stdout
    assert run.stderr.count("\n") == 4
    assert "\x1b[" not in run.stdout + run.stderr


def test_the_printed_command_replays_the_counterexample(file):
    run = simharness("explore", f"{file}::counters", "--parameter", "protocol=racy", "--parameter", "property=counted")
    command = re.search(r"simharness replay (\S+) '(\S+)'$", run.stdout, re.MULTILINE)
    again = simharness("replay", *command.groups())
    assert again.returncode == 1, again.stderr
    assert "✗ check does not hold" in again.stdout
    assert "set counter: 1 → 1" in again.stdout
    by_file_only = simharness("replay", str(file), command.group(2))
    assert by_file_only.stdout == again.stdout


def test_a_cell_that_is_not_as_expected_is_marked_and_status_1(file):
    run = simharness("explore", f"{file}::unexpected")
    assert run.returncode == 1
    assert "VIOLATED !" in run.stdout
    assert "1 not as expected (!)" in run.stdout
    assert "never does not hold: as it must" in run.stdout


def test_an_inconclusive_cell_says_why_and_status_3(file):
    run = simharness("explore", f"{file}::undecided")
    assert run.returncode == 3
    assert "every execution was left out" in run.stdout


def test_a_scenario_that_is_not_deterministic_is_status_4(file):
    refused(simharness("explore", f"{file}::forgetful"), 4, "not deterministic: step 1 was")


def test_the_status_is_the_highest_of_all_cells(file):
    run = simharness("explore", f"{file}::counters", f"{file}::unexpected", f"{file}::undecided", "--no-timelines")
    assert run.returncode == 3
    assert "6 cases" in run.stdout
    assert "═" not in run.stdout
    assert "replay" not in run.stdout


def test_limits_are_inconclusive(file):
    run = simharness("explore", f"{file}::long", "--max-executions", 20)
    assert run.returncode == 3
    assert "max_executions=20" in run.stdout
    assert simharness("explore", f"{file}::long", "--max-seconds", 0.2, "--strategy", "exhaustive").returncode == 3


@pytest.mark.long
def test_samplers_and_bounds_are_asked_for_by_options(file):
    run = simharness("explore", f"{file}::long", "--strategy", "pct", "--depth", 2, "--seed", 5, "--max-executions", 20)
    assert run.returncode == 3
    said = " ".join(run.stdout.split())
    assert "drawn with seed 5" in said
    assert "pct, depth 2: each execution finds a bug of depth 2 with probability at least 1/(n·k) = 1/160" in said
    run = simharness("explore", f"{file}::long", "--preemptions", 1)
    assert run.returncode == 0
    assert "verified: only schedules with at most 1 preemption: what needs more was not run" in run.stdout
    run = simharness("explore", f"{file}::fine", "--delays", 0)
    assert run.returncode == 1
    refused(simharness("explore", f"{file}::fine", "--delays", 0, "--preemptions", 1), 2, "pass only one of them")


def test_all_counts_every_execution(file):
    first = simharness("explore", f"{file}::unexpected", "--no-timelines")
    every = simharness("explore", f"{file}::unexpected", "--no-timelines", "--all")
    assert re.search(r"VIOLATED ! not verified +1 ", first.stdout)
    assert re.search(r"VIOLATED ! not verified +2 ", every.stdout)


def test_full_timelines_show_every_step(file):
    assert "│ set counter: 1 → 1" in simharness("explore", f"{file}::counters", "--full").stdout


def test_an_undecorated_function_can_be_named(file):
    assert simharness("explore", f"{file}::undecorated").returncode == 0


def test_list_shows_scenarios_parameters_and_what_they_are_about(file):
    run = simharness("list", file)
    assert run.returncode == 0
    assert f"{file}::counters  (4 cases)\n    Two bumps of one counter.\n    protocol: racy, atomic" in run.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_tables_and_timelines_keep_to_the_width_of_the_terminal(file, width):
    run = simharness("explore", f"{file}::counters", f"{file}::unexpected", COLUMNS=str(width))
    for line in run.stdout.splitlines():
        assert len(line) <= width or line.startswith("replay with: ")


@pytest.mark.parametrize("width", [80, 120])
def test_a_row_for_each_scenario_says_where_it_fails_and_where_it_does_not(file, width):
    run = simharness("explore", f"{file}::counters", f"{file}::undecided", "--by-scenario", "--no-timelines", COLUMNS=str(width))
    assert run.returncode == 3
    assert all(len(line) <= width for line in run.stdout.splitlines())
    rows = [row.rstrip() for row in run.stdout.splitlines()]
    assert rows[0].split() == ["scenario", "violated", "verified", "inconclusive"]
    assert any(re.match(r"Two bumps of one.* racy( counted)? +\d \d+\.\ds  racy( bounded)? +\d \d+\.\ds$", row) for row in rows)
    assert any(re.match(r"undecided +! +\d \d+\.\ds$", row) for row in rows)
    assert "next to each case: orderings run, seconds" in rows


# JSON


def test_json_has_the_fields_of_the_contract(file, tmp_path):
    target = tmp_path / "out.json"
    run = simharness("explore", f"{file}::counters", f"{file}::undecided", "--json", target)
    assert run.returncode == 3
    results = json.loads(target.read_text())["results"]
    assert [cell["verdict"] for cell in results] == ["violated", "verified", "verified", "verified", "inconclusive"]
    fields = "scenario parameters verdict expected executions redundant blocked deadlocks seconds bounds error counterexample"
    for cell in results:
        assert set(fields.split()) <= set(cell)
    first = results[0]
    assert first["parameters"] == {"protocol": "racy", "property": "counted"}
    assert (first["expected"], first["as_expected"], first["error"]) == ("violated", True, None)
    found = first["counterexample"]
    assert found["failure"].startswith("check does not hold")
    assert [step["actor"] for step in found["steps"]] in (["a", "b", "b", "a"], ["b", "a", "a", "b"], ["a", "b", "a", "b"])
    assert simharness("replay", f"{file}::counters", found["token"]).returncode == 1
    assert results[1]["counterexample"] is None


def test_json_holds_the_error_of_a_cell(file, tmp_path):
    target = tmp_path / "out.json"
    simharness("explore", f"{file}::forgetful", "--json", target)
    (cell,) = json.loads(target.read_text())["results"]
    assert "not deterministic" in cell["error"]
    assert cell["verdict"] == "inconclusive"


@pytest.mark.parametrize(("path", "words"), [("missing/out.json", "there is no folder"), (".", "this is a folder")])
def test_a_json_path_that_cannot_be_written_is_refused_before_exploring(file, tmp_path, path, words):
    run = simharness("explore", f"{file}::long", "--json", tmp_path / path)
    refused(run, 2, "--json", words)
    assert run.stdout == ""


def test_nothing_but_the_json_file_is_left(file, tmp_path):
    target = tmp_path / "results" / "out.json"
    target.parent.mkdir()
    target.write_text("before")
    simharness("explore", f"{file}::unexpected", "--json", target)
    assert [path.name for path in target.parent.iterdir()] == ["out.json"]
    assert json.loads(target.read_text())["exit_status"] == 1


# Workers


def test_workers_find_the_same_as_one_process(file, tmp_path):
    cells = []
    for workers in (1, 3):
        target = tmp_path / f"{workers}.json"
        run = simharness("explore", f"{file}::counters", f"{file}::undecided", "--workers", workers, "--json", target)
        assert run.returncode == 3, run.stderr
        cells.append(json.loads(target.read_text())["results"])
        for cell in cells[-1]:
            del cell["seconds"]
    assert cells[0] == cells[1]


def test_a_worker_that_dies_is_a_result_and_the_other_cells_go_on(file):
    run = simharness("explore", f"{file}::dies", f"{file}::counters", "--workers", 2)
    refused(run, 5, "dies", "ended with status -11", "please report this")
    assert "5 cases: 3 verified, 1 violated, 1 not explored" in run.stdout


@pytest.mark.parametrize(
    ("options", "how_far"),
    [
        (["--workers", "1"], r"long: inconclusive: interrupted after [\d,]+ of about [^\n]+\s+executions"),
        (["--workers", "2"], r"long: inconclusive: interrupted\n"),
        (["--strategy", "pct"], r"long: inconclusive: interrupted after [\d,]+ of 10,000 executions"),
        (["--strategy", "random", "--max-seconds", "60"], r"long: inconclusive: interrupted after [\d,]+ executions"),
    ],
)
@pytest.mark.long
def test_ctrl_c_prints_what_is_known_and_is_inconclusive(file, tmp_path, options, how_far):
    target = tmp_path / "out.json"
    command = [sys.executable, "-m", "simharness", "explore", f"{file}::fine", f"{file}::long", *options]
    process = subprocess.Popen(
        [*command, "--json", str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "fine: violated" in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    assert "interrupted: 1 of 2 cases finished" in err
    assert "Traceback" not in err
    assert "2 cases: 1 violated, 1 inconclusive" in out
    assert re.search(how_far, out)
    assert json.loads(target.read_text())["interrupted"] is True


# Bad input


def test_a_file_that_does_not_exist(tmp_path):
    refused(simharness("explore", tmp_path / "nothing.py"), 2, "no such file")


def test_a_file_without_scenarios(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    refused(simharness("explore", path), 2, "has no scenario", "@simharness.scenario")


def test_a_file_that_raises_on_import(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import simharness\n\nraise ValueError('not today')\n")
    refused(simharness("explore", path), 2, "cannot be imported", "ValueError: not today", "broken.py:3")


def test_a_file_that_is_not_python(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def (:\n")
    refused(simharness("explore", path), 2, "cannot be imported", "SyntaxError")
    refused(simharness("explore", tmp_path / "broken.txt"), 2, "no such file")


SMALL = """
import simharness

@simharness.scenario(expect="violated")
def {name}(world):
    count = world.shared(0, "count")

    def bump():
        count.set(count.get() + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def counted():
        assert count.get() == 2
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with scenarios at two depths, a file without any, and what is not looked at."""
    (tmp_path / "races/deeper").mkdir(parents=True)
    (tmp_path / "races/second.py").write_text(SMALL.format(name="two"))
    (tmp_path / "races/deeper/first.py").write_text(SMALL.format(name="one") + "\nfrom races import second\n\ntwo = second.two\n")
    (tmp_path / "races/none.py").write_text("import simharness\n# no scenario here\n")
    (tmp_path / "races/unrelated.py").write_text("raise LookupError('this has nothing to do with a scenario')\n")
    for hidden in (".hidden", "__pycache__", "venv"):
        (tmp_path / "races" / hidden).mkdir()
        (tmp_path / "races" / hidden / "skipped.py").write_text("import simharness\nraise LookupError('scenario')\n")
    (tmp_path / "races/venv/pyvenv.cfg").write_text("")
    return tmp_path


@pytest.mark.parametrize("named", ["races", *(pytest.param(named, marks=pytest.mark.long) for named in ("races/", "./races"))])
def test_a_folder_stands_for_all_scenarios_below_it_and_what_is_printed_replays(folder, named):
    run = in_a_process("explore", named, cwd=folder)
    assert run.returncode == 0, run.stderr
    assert "2 cases: 2 violated; all as expected" in run.stdout
    commands = re.findall(r"simharness replay (\S+) '(\S+)'$", run.stdout, re.MULTILINE)
    assert [address for address, _ in commands] == ["races/deeper/first.py::one", "races/second.py::two"]
    for command in commands:
        assert "counted does not hold" in in_a_process("replay", *command, cwd=folder).stdout
    token = commands[1][1]
    assert "counted does not hold" in in_a_process("replay", "races", token, cwd=folder).stdout
    assert "counted does not hold" in in_a_process("replay", "races::two", token, cwd=folder).stdout


@pytest.mark.long
def test_workers_and_confirmation_take_scenarios_of_folders_and_modules(folder):
    for named in ("races", "races.second"):
        run = in_a_process("explore", named, "--workers", "2", cwd=folder)
        assert run.returncode == 0, run.stderr
        assert "replayed in a fresh process" in " ".join(run.stdout.split())


@pytest.mark.parametrize(
    ("named", "address"), [("races.second", "races.second::two"), ("races.deeper.first::one", "races.deeper.first::one")]
)
@pytest.mark.long
def test_a_dotted_name_stands_for_a_module_and_what_is_printed_replays(folder, named, address):
    run = in_a_process("explore", named, cwd=folder)
    assert run.returncode == 0, run.stderr
    command = re.search(r"simharness replay (\S+) '(\S+)'$", run.stdout, re.MULTILINE).groups()
    assert address in [found for found, _ in re.findall(r"simharness replay (\S+) '(\S+)'$", run.stdout, re.MULTILINE)]
    assert "counted does not hold" in in_a_process("replay", *command, cwd=folder).stdout
    assert in_a_process("list", named, cwd=folder).stdout.startswith(command[0])


def test_a_package_elsewhere_stands_for_the_modules_in_it(folder, tmp_path_factory):
    (folder / "races/__init__.py").write_text("")
    (folder / "races/deeper/__init__.py").write_text("from . import first\n")
    run = in_a_process("list", "races", cwd=tmp_path_factory.mktemp("elsewhere"), PYTHONPATH=f"{folder}{os.pathsep}{ROOT}")
    assert re.findall(r"^\S+::\S+", run.stdout, re.MULTILINE) == ["races.deeper.first::one", "races.second::two"]


@pytest.mark.long
def test_a_module_is_instrumented_and_its_relative_imports_work(folder):
    (folder / "package").mkdir()
    (folder / "package/base.py").write_text("START = 0\n")
    (folder / "package/lost.py").write_text(
        "from .base import START\n\nN = START\n\n"
        + SMALL.format(name="lost")
        .replace("count.set(count.get() + 1)", "global N; N += 1")
        .replace("count.get()", "N")
        .replace('count = world.shared(0, "count")', "global N; N = START")
    )
    run = in_a_process("explore", "package.lost", cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 case: 1 violated; all as expected" in run.stdout


ALL_REFUSED = """
import sys
from simharness import Misuse, load

for address in sys.argv[1:]:
    try:
        load(address)
    except Misuse as error:
        print(error)
"""


def test_a_folder_or_module_that_cannot_be_used_is_refused(folder):
    (folder / "empty").mkdir()
    (folder / "races/third.py").write_text(SMALL.format(name="two"))
    (folder / "broken").mkdir()
    (folder / "broken/file.py").write_text("import simharness\nraise LookupError('no scenario')\n")
    words = {
        "empty": "empty has no scenario",
        "races::two": "races has 2 scenarios 'two': name one, races/second.py::two or races/third.py::two",
        "races::three": "races has no scenario 'three'; it has: one, two",
        "races.fourth": "races.fourth: no such file, folder or module",
        "races.second.two": "races.second.two: no such file, folder or module",
        "races.unrelated": "races.unrelated cannot be imported: LookupError",
        "broken": "broken/file.py cannot be imported: LookupError: no scenario (at broken/file.py:2)",
        "math": "math has no Python source",
    }
    done = subprocess.run(
        [sys.executable, "-c", ALL_REFUSED, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(words), done.stderr
    for line, expected in zip(lines, words.values(), strict=True):
        assert line.startswith(expected)
    refused(in_a_process("explore", "races", cwd=folder), 2, "two scenarios are called two", "races/second.py::two", "races/third.py::two")
    refused(in_a_process("replay", "races", "two::a1:000000", cwd=folder), 2, "the token fits 2 of them: name one")


def test_a_scenario_that_is_not_there(file):
    refused(simharness("explore", f"{file}::nowhere"), 2, "has no scenario 'nowhere'", "counters")


def test_a_scenario_that_raises_during_set_up(tmp_path):
    path = tmp_path / "setup.py"
    path.write_text("import simharness\n\n@simharness.scenario\ndef s(world):\n    raise RuntimeError('no world')\n")
    refused(simharness("explore", path), 2, "setup.py:5", "RuntimeError during set-up: no world")


def test_a_check_that_raises_something_else(tmp_path):
    path = tmp_path / "check.py"
    path.write_text(
        "import simharness\n\n@simharness.scenario\ndef s(world):\n    world.actor('a', world.step, 'x')\n"
        "    @world.at_end\n    def looks():\n        return {}['gone']\n"
    )
    refused(simharness("explore", path), 2, "check.py:8", "check looks raised KeyError", "assert")


def test_an_unknown_strategy(file):
    refused(simharness("explore", file, "--strategy", "astrology"), 2, "astrology", "dpor, exhaustive")


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("colour=red", "no scenario has a parameter 'colour'"),
        ("protocol=none", "one of racy, atomic"),
        ("protocol", "NAME=VALUE"),
    ],
)
def test_an_unknown_parameter_or_value(file, selection, words):
    refused(simharness("explore", file, "--parameter", selection), 2, words)


def test_unknown_options_and_missing_arguments(file):
    assert simharness("explore", file, "--colour").returncode == 2
    assert simharness("explore").returncode == 2
    assert simharness("explore", file, "--workers", "0").returncode == 2
    assert simharness("explore", file, "--max-executions", "many").returncode == 2


def test_tokens_that_do_not_fit(file):
    run = simharness("explore", f"{file}::fine", "--all")
    token = re.search(r"'(fine::\S+)'", run.stdout).group(1)
    refused(simharness("replay", f"{file}::unexpected", token), 2, "belongs to scenario 'fine'")
    refused(simharness("replay", f"{file}::fine", "garbage"), 2, "not a replay token")
    refused(simharness("replay", f"{file}::fine", ""), 2, "not a replay token")
    file.write_text(SCENARIOS.replace("cell.set(cell.get() + 1)\n    world", "cell.add(1)\n    world"))
    refused(in_a_process("replay", f"{file}::fine", token), 2, "does not fit", "has the code changed")


def test_importing_the_package_imports_neither_rich_nor_typer():
    code = "import sys, simharness; print(sorted({'rich', 'typer', 'hypothesis'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "[]\n"


PRINTS = """
import sys, simharness

@simharness.scenario
def prints(world):
    cell = world.shared(0, "cell")

    def bump():
        value = cell.get()
        print("saw", value, end="")
        print(" late", file=sys.stderr)
        print(" too")
        sys.__stdout__.write("")
        cell.set(value + 1)

    world.actor("a", bump)
    world.actor("b", bump)

    @world.at_end
    def both():
        assert cell.get() == 2
"""


def test_what_the_program_prints_goes_into_the_timeline_and_not_over_the_terminal(tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS, encoding="utf-8")
    command = [sys.executable, "-m", "simharness", "explore", "prints.py"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("saw 0 too") == 2
    assert done.stdout.count("log stdout: saw 0 too") == 2
    assert done.stdout.count("log stderr: late") == 2
    assert " late" not in done.stderr.replace("violated", "")
