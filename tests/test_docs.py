"""The README and the docs are true: their examples run, and the timeline they show is the one that is printed."""

import doctest
import importlib
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import simharness
from simharness.authoring.loading import load
from simharness.cli.main import app
from simharness.places import without_addresses
from simharness.timeline.render import render

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKER = "@pytest.mark.interleave"
EXAMPLES = [
    pytest.param(code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1)
    if MARKER not in code
]
TESTS = [
    pytest.param(code, shown, id=page.name)
    for page in PAGES
    for code, shown in re.findall(r"```python\n(# test_\w+\.py\n.*?)```.*?```\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_every_example_runs_as_it_stands(code, monkeypatch):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "example.py", "exec"), {"__name__": "example"})


@pytest.mark.parametrize(("code", "shown"), TESTS)
def test_the_marked_test_of_the_page_fails_as_the_page_shows(code, shown, tmp_path):
    file = code.partition("\n")[0].removeprefix("# ")
    (tmp_path / file).write_text(code, encoding="utf-8")
    plugin = ("-p", "no:simharness", "-p", "simharness.pytest_plugin", "-p", "no:cacheprovider")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, file], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert without_addresses(shown) in without_addresses(done.stdout)


HOW_TO = re.findall(r"```shell\n\$ (.*?)\n(.*?)```", (ROOT / "docs/incidents.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.long
def test_the_commands_of_the_how_to_for_incidents_one_after_the_other_print_what_it_shows():
    assert len(HOW_TO) == 3
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    for command, shown in HOW_TO:
        words = ["-m", *shlex.split(command)] if command.startswith("simharness") else shlex.split(command)[1:]
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        for line in shown.splitlines():
            assert line == "…" or line in done.stdout, done.stdout + done.stderr


def incident():
    scenario = load(str(ROOT / "scenarios/compression_fork.py") + "::two_contenders")[0]
    cell = {"protocol": "lease", "property": "one_compression_child"}
    return simharness.explore(scenario, parameters=cell)


def test_the_timeline_of_the_readme_is_the_one_that_is_printed(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = incident()
    printed = "\n".join(line.rstrip() for line in render(result.counterexample.trace).splitlines())
    assert printed in (ROOT / "README.md").read_text()
    assert f"found after {result.executions} executions" in (ROOT / "README.md").read_text()


COMMANDS = [
    pytest.param(command, shown, id=f"{page.name}-{number}")
    for page in PAGES
    if page.name != "incidents.md"  # its commands build on one another
    for number, (command, shown) in enumerate(re.findall(r"```console\n\$ (.*?)\n(.*?)```", page.read_text(), re.DOTALL), start=1)
]


@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_every_command_of_the_pages_runs_and_prints_what_is_shown(command, shown, monkeypatch, tmp_path):
    """Seconds, paths of files and checks of tokens may differ."""
    monkeypatch.chdir(ROOT)
    given, _, rest = command.rpartition(" | ")
    lines = given.removeprefix("printf '").removesuffix("'").replace("\\n", "\n")
    arguments = shlex.split(rest.replace("/tmp/", f"{tmp_path}/"))
    assert arguments[0] == "simharness"
    done = CliRunner().invoke(app, arguments[1:], input=lines)
    assert done.exit_code in (0, 1)
    printed = re.sub(r"\d+\.\d+$", "0.0", done.output, flags=re.MULTILINE)
    for line in shown.splitlines():
        assert re.sub(r"\d+\.\d+$", "0.0", line).rstrip("'") in printed
    for option, value in itertools.pairwise(arguments):
        if option in ("--html", "--json"):
            assert pathlib.Path(value).stat().st_size > 1000


def test_every_link_of_the_pages_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_command_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_docstring_examples_of_the_package_run():
    for name in (
        "simharness.exploring.explore",
        "simharness.authoring.scenario",
        "simharness.check",
        "simharness.check.programs",
        "simharness.check.specifications",
        "simharness.linearizability",
    ):
        outcome = doctest.testmod(importlib.import_module(name))
        assert outcome.attempted
        assert not outcome.failed
