"""Counterexamples are confirmed: replayed in a fresh process with another hash seed where the scenario's file can be loaded, else here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import simharness
from simharness import Settings, Verdict
from simharness.authoring.loading import load
from simharness.verdicts.results import FRESH, HERE

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.confirms
RACY = """
import simharness
{before}
@simharness.scenario(size=[1, 2])
def racy(world, size):
    names = {names}
    cell = world.shared(0, "cell")
    def bump(name):
        world.step(name)
        cell.set(cell.get() + size)
    for name in names:
        world.actor(name, bump, name)
    world.at_end(lambda: check(cell, {expected}))

def check(cell, expected):
    assert cell.get() == expected, f"{message}"
"""
SORTED = '["alpha", "beta", "gamma"]'
SET = '{"alpha", "beta", "gamma", "delta", "epsilon", "zeta"}'


def written(folder, name="scenarios.py", before="", names=SORTED, expected="3 * size", message="{cell.get()}"):
    file = folder / name
    text = RACY.replace("{before}", before).replace("{names}", names).replace("{expected}", expected).replace("{message}", message)
    file.write_text(text, encoding="utf-8")
    return f"{file}::racy"


def explored(address, **settings):
    return simharness.explore(load(address)[0], settings=Settings(**settings))


def on_the_command_line(address, *options, **environment):
    return subprocess.run(
        [sys.executable, "-m", "simharness", "explore", address, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_closure_is_confirmed_in_this_process(tmp_path):
    def racy(world):
        cell = world.shared(0, "cell")
        for name in "ab":
            world.actor(name, lambda: cell.set(cell.get() + 1))
        world.at_end(lambda: fail_unless(cell.get() == 2))

    assert simharness.explore(racy).counterexample.confirmed == HERE


def fail_unless(condition):
    assert condition


def test_a_scenario_of_a_file_is_confirmed_in_a_fresh_process_unless_that_is_not_wanted(tmp_path):
    address = written(tmp_path)
    assert explored(address).counterexample.confirmed == FRESH
    assert explored(address, confirm=False).counterexample.confirmed == HERE


def test_a_cell_whose_values_a_token_cannot_tell_is_confirmed_in_this_process(tmp_path):
    file = written(tmp_path).partition("::")[0]
    Path(file).write_text(Path(file).read_text(encoding="utf-8").replace("size=[1, 2]", ""), encoding="utf-8")
    result = simharness.explore(load(f"{file}::racy")[0], parameters={"size": Fraction(3)})
    assert result.counterexample.confirmed == HERE


def test_the_report_and_the_json_say_how_a_counterexample_was_confirmed(tmp_path):
    found = on_the_command_line(written(tmp_path), "--json", str(tmp_path / "out.json"), "--workers", "2")
    assert found.returncode == 1
    assert " ".join(found.stdout.split()).count(FRESH) == 2
    results = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["results"]
    assert [result["counterexample"]["confirmed"] for result in results] == [FRESH, FRESH]
    assert len({result["counterexample"]["trace_hash"] for result in results}) == 2


def test_the_order_of_a_set_of_strings_is_flagged_where_no_ordering_fails(tmp_path):
    found = on_the_command_line(written(tmp_path, names=f"['-'.join({SET})]", expected="size"), PYTHONHASHSEED="3")
    assert found.returncode == 4
    assert "not deterministic: step " in found.stderr
    assert "replayed in a fresh process with another hash seed, «" in found.stderr
    assert "\nthis process  " in found.stderr, "side by side"
    assert " ≠ " in found.stderr


def test_the_order_of_a_set_of_strings_does_not_take_a_violation_back_that_a_fresh_process_shows_too(tmp_path):
    found = on_the_command_line(written(tmp_path, names=SET, expected="-1"), PYTHONHASHSEED="3")
    assert found.returncode == 1, found.stderr
    said = " ".join(found.stdout.split())
    assert "a fresh process fails, too, and not in the same way: not deterministic: step " in said
    assert "replayed in a fresh process with another hash seed, «" in said


def test_a_violation_whose_token_passes_in_a_fresh_process_is_taken_back(tmp_path):
    address = written(tmp_path, before="SEEN = []", expected="-1 if SEEN else 2 * size", names='["alpha", "beta"]')
    source = Path(address.partition("::")[0])
    source.write_text(source.read_text(encoding="utf-8").replace("cell.set(cell.get() + size)", "cell.add(size)"), encoding="utf-8")
    scenario = load(address)[0]
    scenario.function.__globals__["SEEN"].append("before exploring")
    [result, _] = simharness.explore_all(scenario)
    assert (result.verdict, result.counterexample, result.exit_status) == (Verdict.INCONCLUSIVE, None, 4)


def test_a_message_that_shows_a_set_is_no_false_alarm(tmp_path):
    found = explored(written(tmp_path, message="{set('the letters of this text')}"))
    assert found.counterexample.confirmed == FRESH


def test_state_that_only_the_exploring_process_has_is_flagged(tmp_path):
    address = written(tmp_path, before="SEEN = []", names='["alpha", "beta"] if SEEN else ["beta", "alpha"]', expected="cell.get()")
    scenario = load(address)[0]
    scenario.function.__globals__["SEEN"].append("before exploring")
    with pytest.raises(simharness.Nondeterminism, match="step 1 was «alpha step alpha» and, replayed in a fresh process") as refuted:
        simharness.explore(scenario)
    assert refuted.value.difference is not None
    results = simharness.explore_all(scenario)
    assert [(result.error_status, result.counterexample, result.as_expected) for result in results] == [(4, None, False)] * 2


@pytest.mark.parametrize(
    ("once", "why"),
    [
        ("raise ImportError('needs a thing that is gone')", "cannot be imported: ImportError: needs a thing that is gone"),
        ("import os; os._exit(7)", "it ended with status 7"),
        ("raise SystemExit('no second time')", "no second time"),
    ],
)
def test_a_file_that_a_fresh_process_cannot_import_gives_a_message_and_no_false_alarm(tmp_path, once, why):
    mark = tmp_path / "mark"
    address = written(tmp_path, before=f"from pathlib import Path\nif Path({str(mark)!r}).exists():\n    {once}\n")
    scenario = load(address)[0]
    mark.touch()
    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VIOLATED
    assert result.counterexample.confirmed.startswith(f"{HERE}; a fresh process gave no answer: ")
    assert why in result.counterexample.confirmed


def test_a_verified_cell_that_could_not_be_replayed_in_a_fresh_process_says_so(tmp_path):
    mark = tmp_path / "mark"
    address = written(tmp_path, before=f"from pathlib import Path\nif Path({str(mark)!r}).exists():\n    1 / 0\n", expected="cell.get()")
    scenario = load(address)[0]
    mark.touch()
    result = simharness.explore(scenario)
    assert result.verdict is Verdict.VERIFIED
    assert "not replayed: a fresh process gave no answer" in result.bounds
    assert "ZeroDivisionError" in result.bounds


def test_a_replay_that_crashes_the_fresh_process_gives_a_message_for_its_cell_only(tmp_path):
    crash = "import os\nPARENT = os.environ.get('EXPLORING')\ndef crash(size):\n    if size == 2 and not PARENT: os.kill(os.getpid(), 9)\n"
    address = written(tmp_path, before=crash, names=f"crash(size) or {SORTED}")
    scenario = load(address)[0]
    scenario.function.__globals__["PARENT"] = "yes"
    scenario.function.__globals__["os"].environ.pop("EXPLORING", None)
    one, two = simharness.explore_all(scenario)
    assert one.counterexample.confirmed == FRESH
    assert "a fresh process gave no answer" in two.counterexample.confirmed


def test_what_a_scenario_prints_and_where_it_was_imported_from_do_not_disturb_the_fresh_process(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "simharness_test_helper.py").write_text("EXPECTED = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    before = "import simharness_test_helper, sys\nprint('imported', flush=True)\nsys.stderr.write('noise')"
    address = written(tmp_path, before=before, names=f"print('set up') or {SORTED}", expected="simharness_test_helper.EXPECTED * size")
    assert explored(address).counterexample.confirmed == FRESH


def test_temporary_folders_may_have_other_names_in_the_fresh_process(tmp_path):
    before = "import tempfile"
    address = written(tmp_path, before=before, names=f"world.shared((world.path('x'), tempfile.mkdtemp()), 'path') and {SORTED}")
    Path(address.partition("::")[0]).write_text(
        Path(address.partition("::")[0]).read_text(encoding="utf-8").replace("world.step(name)", "world.step(world.path(name))"),
        encoding="utf-8",
    )
    assert explored(address).counterexample.confirmed == FRESH
