"""`simharness incident`: logs that scenarios have written are explained, or it is said why not; bad input is refused in one line."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simharness.cli import main as cli

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = "tests/incident/data"
REAL = ROOT.parent / "shared/hermes/incident-0.16.0.log"
TURNS = ("--scenario", "scenarios/incident_fork.py::turns")
PROCESSES = ("--scenario", "scenarios/incident_fork.py::processes", "--parameter", "later=0")
WITH_PROCESS = ("--format", "%(asctime)s %(process)d/%(threadName)s %(levelname)s %(name)s: %(message)s")
LEASE, FENCED = ("--parameter", "protocol=lease"), ("--parameter", "protocol=fenced")


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def incident(*arguments):
    done = CliRunner().invoke(cli.app, ["incident", *arguments])
    return done.exit_code, done.output


def answers(tmp_path, *arguments):
    file = tmp_path / "answer.json"
    status, output = incident(*arguments, "--json", str(file))
    assert file.exists(), output
    found = json.loads(file.read_text(encoding="utf-8"))
    return status, found["answers"][0], output


def database(tmp_path, name):
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript((ROOT / DATA / name).read_text(encoding="utf-8"))
    connection.close()
    return path


def test_a_fork_is_reproduced_and_the_race_that_decides_it_is_named(tmp_path):
    status, answer, output = answers(tmp_path, f"{DATA}/fork.log", *TURNS, *LEASE, "--max-executions", "30")
    assert (status, answer["verdict"]) == (0, "reproduced")
    assert answer["harmful"] == answer["orderings"] > 0
    assert "2 compression children" in answer["evidence"]["failure"]
    assert "try_acquire_compression_lock" in answer["evidence"]["separating"][0]
    assert "fresh process" in answer["evidence"]["confirmed"]
    assert output.count("\n* 22:34") == 4
    assert "the signature of a fork" in output


@pytest.mark.long
def test_under_fenced_the_same_log_is_impossible_and_the_line_that_cannot_happen_is_named(tmp_path):
    status, answer, output = answers(tmp_path, f"{DATA}/fork.log", *TURNS, *FENCED)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    assert answer["unexplained"]["message"].startswith("context compression done")
    assert "already rotated" in output


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
@pytest.mark.parametrize(("protocol", "status", "said"), [(LEASE, 0, "REPRODUCED"), (FENCED, 1, "IMPOSSIBLE")])
def test_the_log_of_the_real_incident_is_reproduced_under_lease_and_impossible_under_fenced(protocol, status, said):
    found, output = incident(str(REAL), *TURNS, *protocol, "--max-executions", "60")
    assert found == status
    assert said in output
    assert "read 38 lines" in output
    if status:
        assert "incident-0.16.0.log:19: compression ends" in output
        assert "20261122_223407_340c73" in output


@pytest.mark.long
def test_a_contention_in_which_one_steps_back_is_consistent_but_harmless(tmp_path):
    status, answer, _ = answers(tmp_path, f"{DATA}/contention.log", *TURNS, *LEASE)
    assert (status, answer["verdict"], answer["harmful"]) == (1, "consistent but harmless", 0)
    assert answer["evidence"]["other_token"]
    assert "this is harmful" in answer["evidence"]["separating"][0]


TICKETS = """
import logging
import simharness
from simharness.incident import Log, Template

LOG = Log(
    [Template("taken", "shop", "seat taken by {who}"), Template("sold out", "shop", "{who} finds no seat")],
    ids={"who": "person"},
    session="person",
)

@simharness.scenario(log=LOG)
def tickets(world):
    seats = world.shared(1, "seats")

    def book(who):
        if seats.get():
            seats.add(-1)
            logging.getLogger("shop").info("seat taken by %s", who)
        else:
            logging.getLogger("shop").info("%s finds no seat", who)

    world.actor("alice", book, "alice")
    world.actor("bob", book, "bob")

    @world.at_end
    def never_overbooked():
        assert seats.get() >= 0
"""


def shop(tmp_path, *messages):
    (tmp_path / "tickets.py").write_text(TICKETS, encoding="utf-8")
    lines = [f"2026-11-22 22:34:{number:02},000 INFO shop: {message}\n" for number, message in enumerate(messages)]
    (tmp_path / "shop.log").write_text("".join(lines), encoding="utf-8")
    sessions = [option for who in ("zoe", "yan") for option in ("--session", who)]
    return answers(tmp_path, str(tmp_path / "shop.log"), "--scenario", f"{tmp_path / 'tickets.py'}::tickets", *sessions)


TAKEN = ("seat taken by zoe", "seat taken by yan")


def test_two_seats_sold_are_reproduced_by_the_orderings_in_which_both_look_first(tmp_path):
    status, answer, _ = shop(tmp_path, *TAKEN)
    assert (status, answer["verdict"], answer["orderings"], answer["harmful"]) == (0, "reproduced", 2, 2)
    assert {(found["log"], found["execution"]) for found in answer["evidence"]["ids"]} in (
        {("zoe", "alice"), ("yan", "bob")},
        {("zoe", "bob"), ("yan", "alice")},
    )


def test_one_seat_sold_is_harmless_and_the_harmful_ordering_that_differs_least_is_told(tmp_path):
    status, answer, _ = shop(tmp_path, "seat taken by zoe", "yan finds no seat")
    assert (status, answer["verdict"], answer["orderings"], answer["harmful"]) == (1, "consistent but harmless", 2, 0)
    assert "in the other order this is harmful" in answer["evidence"]["separating"][0]


@pytest.mark.parametrize("third", ["yan finds no seat", "seat taken by zoe", "seat taken by yan"])
def test_a_line_of_the_incident_that_nothing_logs_makes_it_impossible_although_all_others_fit(tmp_path, third):
    status, answer, _ = shop(tmp_path, *TAKEN, third)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    assert answer["unexplained"]["consumed"] == 2
    assert answer["unexplained"]["message"] == third


def test_what_the_session_did_before_and_after_is_left_out_on_request(tmp_path):
    (tmp_path / "tickets.py").write_text(TICKETS, encoding="utf-8")
    messages = ["zoe finds no seat", "seat taken by zoe", "zoe finds no seat"]
    lines = [f"2026-11-22 22:34:{number:02} INFO shop: {message}\n" for number, message in enumerate(messages)]
    (tmp_path / "shop.log").write_text("".join(lines), encoding="utf-8")
    options = (str(tmp_path / "shop.log"), "--scenario", f"{tmp_path / 'tickets.py'}::tickets")
    assert answers(tmp_path, *options)[1]["verdict"] == "impossible under this code"
    bounds = ("--since", "2026-11-22 22:34:01", "--until", "2026-11-22 22:34:01")
    _, answer, output = answers(tmp_path, *options, *bounds)
    assert answer["orderings"] > 0
    assert "2 records before --since or after --until" in output
    assert "--since 'noon' is not a time" in incident(*options, "--since", "noon")[1]


def test_every_line_of_the_incident_has_to_be_explained_or_the_verdict_is_not_reproduced(tmp_path):
    text = (ROOT / DATA / "fork.log").read_text(encoding="utf-8")
    ended = next(line for line in text.splitlines() if "Turn ended" in line)
    one_more = ended.replace("22:34:03", "22:34:04")
    (tmp_path / "agent.log").write_text(f"{text}{one_more}\n", encoding="utf-8")
    status, answer, _ = answers(tmp_path, str(tmp_path / "agent.log"), *TURNS, *LEASE, "--max-executions", "20")
    assert (status, answer["verdict"]) == (3, "undecided within the budget")
    assert answer["unexplained"]["place"].endswith(":20")
    assert "Turn ended" in answer["unexplained"]["message"]


def test_lines_that_no_template_names_are_counted_listed_on_request_and_free(tmp_path):
    text = (ROOT / DATA / "fork.log").read_text(encoding="utf-8").splitlines()
    text[3:3] = ["2026-11-22 22:34:03,100 INFO run_agent: OpenAI client created", "2026-11-22 22:34:03,100 INFO gateway.run: a quiet day"]
    (tmp_path / "agent.log").write_text("\n".join(text) + "\n", encoding="utf-8")
    status, output = incident(str(tmp_path / "agent.log"), *TURNS, *LEASE, "--unknown", "--max-executions", "5")
    assert status == 0
    assert "1 come from loggers that no template names" in output
    assert "agent.log:4 (another logger) run_agent: OpenAI client created" in output
    assert "agent.log:5 (another message) gateway.run: a quiet day" in output


def test_of_two_interleaved_sessions_the_one_with_the_signature_is_explained(tmp_path):
    _, answer, output = answers(tmp_path, f"{DATA}/interleaved.log", *TURNS, *LEASE, "--max-executions", "5")
    assert answer["verdict"] == "reproduced"
    assert re.search(r"\d+ match a template and belong to other sessions", output)


@pytest.mark.long
def test_a_log_with_missing_lines_is_impossible_until_lines_may_be_missing(tmp_path):
    text = (ROOT / DATA / "fork.log").read_text(encoding="utf-8").splitlines()
    del text[4]
    (tmp_path / "agent.log").write_text("\n".join(text) + "\n", encoding="utf-8")
    status, answer, _ = answers(tmp_path, str(tmp_path / "agent.log"), *TURNS, *LEASE)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    status, answer, _ = answers(tmp_path, str(tmp_path / "agent.log"), *TURNS, *LEASE, "--missing", "1", "--max-executions", "400")
    assert (status, answer["verdict"], answer["assumed"]) == (0, "reproduced", "1 line missing from the log")


@pytest.mark.long
def test_a_log_without_every_third_line_is_reproduced_with_the_missing_lines(tmp_path):
    status, answer, _ = answers(tmp_path, f"{DATA}/third_missing.log", *TURNS, *LEASE, "--missing", "6", "--max-seconds", "900")
    assert (status, answer["verdict"]) == (0, "reproduced")


@pytest.mark.long
def test_clocks_that_differ_by_a_minute_are_found_out(tmp_path):
    logs = (f"{DATA}/minute_gateway.log", f"{DATA}/minute_cli.log")
    status, answer, _ = answers(tmp_path, *logs, *PROCESSES, *WITH_PROCESS, *LEASE)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    assert 59 < answer["least_skew"] < 61
    status, answer, _ = answers(tmp_path, *logs, *PROCESSES, *WITH_PROCESS, *LEASE, "--skew", "60", "--max-executions", "40")
    assert answer["orderings"] > 0


@pytest.mark.long
def test_a_crash_between_two_transactions_is_found_where_the_database_asks_for_it(tmp_path):
    path = database(tmp_path, "crash.sql")
    options = (*PROCESSES, *WITH_PROCESS, *LEASE, "--skew", "0", "--db", str(path))
    status, answer, _ = answers(tmp_path, f"{DATA}/crash.log", *options)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    assert "end_reason=compression" in answer["unexplained"]["rows"]
    status, answer, _ = answers(tmp_path, f"{DATA}/crash.log", *options, "--faults", "crash=1", "--max-seconds", "400")
    assert (status, answer["verdict"], answer["assumed"]) == (0, "reproduced", "crash=1")
    assert "has no child" in answer["evidence"]["failure"]


@pytest.mark.long
def test_a_stall_longer_than_the_lease_is_what_explains_two_children_under_lease_recheck(tmp_path):
    options = (*PROCESSES[:2], "--parameter", "later=301", *WITH_PROCESS, "--parameter", "protocol=lease_recheck")
    status, answer, _ = answers(tmp_path, f"{DATA}/stall.log", *options)
    assert (status, answer["verdict"]) == (1, "impossible under this code")
    status, answer, _ = answers(tmp_path, f"{DATA}/stall.log", *options, "--faults", "stall=1@gateway", "--max-seconds", "900")
    assert (status, answer["verdict"], answer["assumed"]) == (0, "reproduced", "stall=1@gateway")


def test_the_database_and_its_write_ahead_log_are_read_and_not_changed(tmp_path):
    path = database(tmp_path, "fork.sql")
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("PRAGMA wal_autocheckpoint=0")
    writer.execute("INSERT INTO compression_locks VALUES ('20260527_234659_e65f0e', 'somebody', 0, 0)")
    writer.commit()
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir()}
    assert "state.db-wal" in before
    status, answer, _ = answers(tmp_path, f"{DATA}/fork.log", *TURNS, *LEASE, "--db", str(path), "--max-executions", "10")
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.iterdir() if file.name in before}
    assert before == after
    writer.close()
    assert (status, answer["verdict"]) == (3, "undecided within the budget")
    assert answer["unexplained"]["rows"].startswith("compression locks: the incident has session_id=20260527_234659_e65f0e")


def test_the_rows_of_the_database_are_unified_with_the_executions(tmp_path):
    _, answer, _ = answers(
        tmp_path, f"{DATA}/fork.log", *TURNS, *LEASE, "--db", str(database(tmp_path, "fork.sql")), "--max-executions", "20"
    )
    assert answer["verdict"] == "reproduced"


@pytest.mark.long
def test_the_token_replays_the_page_shows_it_and_the_test_that_is_written_passes(tmp_path):
    file, page = tmp_path / "test_incident.py", tmp_path / "incident.html"
    options = ("--pytest", str(file), "--html", str(page), "--max-executions", "5")
    _, answer, _ = answers(tmp_path, f"{DATA}/fork.log", *TURNS, *LEASE, *options)
    text = page.read_text(encoding="utf-8")
    assert "The incident" in text
    assert answer["evidence"]["token"] in text
    assert answer["evidence"]["other_token"] in text
    replayed = CliRunner().invoke(cli.app, ["replay", TURNS[1], answer["evidence"]["token"]])
    assert replayed.exit_code == 1
    assert "2 compression children" in replayed.output
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout


def test_a_search_that_is_given_too_little_is_undecided(tmp_path):
    status, answer, _ = answers(tmp_path, f"{DATA}/fork.log", *TURNS, *FENCED, "--max-executions", "3")
    assert (status, answer["verdict"]) == (3, "undecided within the budget")
    assert "max_executions=3" in answer["gave_up"]


@pytest.mark.long
def test_without_a_parameter_every_cell_is_answered(tmp_path):
    status, output = incident(f"{DATA}/fork.log", *TURNS, "--max-executions", "2")
    assert status == 0
    assert len(re.findall(r"^turns protocol=", output, re.MULTILINE)) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.log", *TURNS), "none.log cannot be read: No such file or directory; give log files"),
        (("pyproject.toml", *TURNS), "pyproject.toml is not a log, or has another format"),
        ((f"{DATA}/fork.log", "--scenario", "scenarios/none.py"), "scenarios/none.py: no such file"),
        ((f"{DATA}/fork.log", "--scenario", "scenarios/tutorial.py"), "has several scenarios: name one"),
        ((f"{DATA}/fork.log", "--scenario", "scenarios/compression_fork.py::two_contenders"), "says nothing about its log"),
        ((f"{DATA}/fork.log", *TURNS, "--parameter", "protocol=none"), "protocol must be one of"),
        ((f"{DATA}/fork.log", *TURNS, "--faults", "flood=1"), "there is no fault 'flood'"),
        ((f"{DATA}/fork.log", *TURNS, "--format", "%(message)s"), "needs a message and a time"),
        ((f"{DATA}/fork.log", *TURNS, "--session", "nobody"), "--session nobody: no log line names it"),
        ((f"{DATA}/fork.log", *TURNS, "--db", "pyproject.toml"), "is not an SQLite database"),
        ((f"{DATA}/fork.log", *TURNS, "--db", "none.db"), "--db none.db cannot be read"),
        ((f"{DATA}/fork.log", *TURNS, "--json", "none/x.json"), "--json none/x.json: there is no folder"),
        ((f"{DATA}/fork.log", *TURNS, "--pytest", "none/x.py"), "--pytest none/x.py: there is no folder"),
        ((f"{DATA}/fork.log", *TURNS, "--zone", "Mars"), "no such time zone"),
    ],
)
def test_bad_input_is_refused_in_one_line_with_status_2(arguments, said):
    done = CliRunner().invoke(cli.app, ["incident", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_test_is_written_for_what_is_not_reproduced(tmp_path):
    file = tmp_path / "test_incident.py"
    status, output = incident(f"{DATA}/fork.log", *TURNS, *FENCED, "--pytest", str(file), "--max-executions", "2")
    assert status == 2
    assert "nothing to write, the incident is not reproduced" in output
    assert not file.exists()


SHOP_LOG = "2026-11-22 22:34:03,111 INFO shop: sold to alice\n2026-11-22 22:34:03,222 INFO shop: sold to bob\n"
RELEASED = """
import logging

def sell(seats, who):
    if seats.get():
        seats.add(-1)
        logging.getLogger("shop").info("sold to %s", who)
"""
REPAIRED = """
import logging

def sell(seats, who):
    if seats.add(-1) > 0:
        logging.getLogger("shop").info("sold to %s", who)
    else:
        seats.add(1)
"""
SCENARIO = """
import shop
import simharness
from simharness.incident import Log, Template

LOG = Log(
    templates=[Template("sold", "shop", "sold to {who}")],
    ids={"who": "session"},
    format="%(asctime)s %(levelname)s %(name)s: %(message)s",
)

@simharness.scenario(log=LOG)
def sale(world):
    seats = world.shared(1, "seats")
    for who in ("alice", "bob"):
        world.actor(who, shop.sell, seats, who)

    @world.at_end
    def never_oversold():
        assert seats.get() >= 0
"""


def environment(folder, code):
    """Make an environment with a package `shop`, beside what this interpreter has."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "shop.py").write_text(code, encoding="utf-8")
    (packages / "here.pth").write_text("\n".join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]))
    return folder / "bin" / "python"


def with_python(python, tmp_path, *options):
    command = [sys.executable, "-m", "simharness", "incident", "shop.log", "--scenario", "scenario/sale.py::sale", "--python", str(python)]
    command += ["--session", "alice", "--session", "bob", "--json", "answer.json", *options]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="environments look different")
def test_the_scenario_runs_the_package_of_the_environment_that_python_names(tmp_path):
    (tmp_path / "scenario").mkdir()
    (tmp_path / "scenario" / "sale.py").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "shop.log").write_text(SHOP_LOG, encoding="utf-8")
    (tmp_path / "shop.py").write_text("raise ImportError('the package of the folder')", encoding="utf-8")
    done = with_python(environment(tmp_path / "old", RELEASED), tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "sale : REPRODUCED" in done.stdout
    assert json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))["answers"][0]["verdict"] == "reproduced"
    done = with_python(environment(tmp_path / "new", REPAIRED), tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "IMPOSSIBLE" in done.stdout


def test_what_is_no_interpreter_or_lacks_simharness_is_refused_in_one_line(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\necho 0.0\n", encoding="utf-8")
    for mode, said in ((0o600, "this is no interpreter"), (0o700, "has simharness 0.0, not")):
        (tmp_path / "python").chmod(mode)
        status, output = incident(f"{DATA}/fork.log", *TURNS, "--python", str(tmp_path / "python"))
        assert status == 2
        assert said in output
        assert len(output.strip().splitlines()) == 1
