"""A test that is written from a stranger's log is data: whatever names, ids and texts say, it compiles, runs, and does nothing else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simharness.cli import main as cli
from tests.outside.hostile import NASTY, SHOP

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("end of a text", "quotes", "a format")
KINDS = [
    pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.long]) for kind in NASTY if kind != "lone surrogates"
]  # a log in UTF-8 holds none
LINES = "2026-11-22 22:34:03,001 INFO {logger}: {first}\n2026-11-22 22:34:03,002 INFO {logger}: {second}\n"


@pytest.fixture(autouse=True)
def without_fresh_processes(monkeypatch):
    monkeypatch.setattr("simharness.incident.answer.confirmed", lambda results, *_: list(results))


def written(folder, monkeypatch, nasty, name="shop.log"):
    """Write a test from a log in which everything is nasty that can be; return its path."""
    monkeypatch.chdir(folder)
    text = SHOP.replace('"shop"', "LOGGER").replace('"seat taken by %s", who)', '"seat taken by %s %s", who, NASTY)')
    text = text.replace('"%s finds', '"%s " + NASTY.replace("%", "%%") + " finds').replace("taken by {who}", "taken by {who} {rest}")
    text = text.replace("assert seats.get() >= 0", "assert seats.get() >= 0, NASTY")
    lines = nasty.replace("\n", " ")
    text = text.replace("\nLOG =", f"\nNASTY = {lines!r}\nLOGGER = {'shop' + NASTY['quotes'].replace(' ', '_').replace(':', '')!r}\nLOG =")
    Path("shop.py").write_text(text, encoding="utf-8")
    logger = "shop" + NASTY["quotes"].replace(" ", "_").replace(":", "")
    log = LINES.format(logger=logger, first=f"seat taken by zoe {lines}", second=f"seat taken by yan {lines}")
    Path(name).write_bytes(log.encode(errors="surrogatepass"))
    target = folder / "test_written.py"
    sessions = ("--session", "zoe", "--session", "yan")
    done = CliRunner().invoke(
        cli.app, ["incident", name, "--scenario", "shop.py::tickets", *sessions, "--pytest", str(target), "--max-executions", "5"]
    )
    assert done.exit_code == 0, done.output
    return target


def run(target, folder):
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:simharness", str(target)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False, timeout=120)


def is_data(source):
    """Whether the module holds what a written one does, and every text in it is a literal."""
    kinds = [type(statement).__name__ for statement in ast.parse(source).body]
    imports = [kind for kind in kinds[1:-1] if kind.startswith("Import")]
    return (
        kinds[0] == "Expr"
        and kinds[-1] == "FunctionDef"
        and set(kinds[1:-1]) <= {"Import", "ImportFrom", "Assign", "Expr"}
        and len(imports) <= 3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_written_from_nasty_texts_is_data(tmp_path, monkeypatch, kind):
    source = written(tmp_path, monkeypatch, NASTY[kind].replace("\0", "")).read_text(encoding="utf-8")
    assert is_data(source)
    assert source.replace("\n", "").isprintable()
    assert not (tmp_path / "pwned").exists()


NAMES = [
    '"""\nimport os\nos.system("touch pwned")\n""".log',
    "'''x\\.log",
    "{0}{name!r}.log",
    "$(touch pwned)`touch pwned`.log",
    "\x1b]0;x\x07\u202e.log",
]


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:])])
def test_a_log_of_any_name_gives_a_test_that_passes_and_does_nothing_else(tmp_path, monkeypatch, name):
    target = written(tmp_path, monkeypatch, "plain", name)
    assert is_data(target.read_text(encoding="utf-8"))
    done = run(target, tmp_path)
    assert "1 passed" in done.stdout, done.stdout
    assert not (tmp_path / "pwned").exists()


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in NASTY if kind != "lone surrogates"])
def test_a_test_written_from_nasty_texts_passes_and_does_nothing_else(tmp_path, monkeypatch, kind):
    done = run(written(tmp_path, monkeypatch, NASTY[kind].replace("\0", "")), tmp_path)
    assert "1 passed" in done.stdout, done.stdout
    assert not (tmp_path / "pwned").exists()
