"""The plugin's output: the failing ordering below a test's failure, a line for each test at the end, annotations for GitHub."""

from __future__ import annotations

import os
import shlex
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from simharness.verdicts.results import Counterexample, Replayed
from simharness.visible import visible, visible_lines

WIDEST = 100
_COLOURS = {"verified": "green", "violated": "red", "inconclusive": "yellow", "error": "red"}


def failing_ordering(failing: Replayed, nodeid: str, shortness: str) -> str:
    """Return the timeline of a failing execution, what is known about it, and the command that repeats it."""
    from simharness.timeline.render import render

    width = min(WIDEST, shutil.get_terminal_size((80, 24)).columns)
    lines = [*render(failing.trace, width).partition("\n")[2].strip("\n").split("\n"), ""]
    if isinstance(failing, Counterexample):
        lines += textwrap.wrap(f"{len(failing.steps)} steps, {shortness}; {failing.confirmed}", width, subsequent_indent="  ")
    return "\n".join([*map(visible, lines), f"pytest {visible(shlex.quote(nodeid))} --interleave-replay={shlex.quote(failing.token)}"])


def write_summary(reporter: pytest.TerminalReporter, summaries: Sequence[Mapping[str, Any]], left: Sequence[str] = ()) -> None:
    """Write a line for each test: verdict, number of orderings, seconds; and how many tests were not explored, and why (`left`)."""
    listed = [test for test in summaries if test["verdict"] != "no threads"]
    if listed or left:
        reporter.section("orderings", sep="=")
    for test in listed:
        count = f"{test['executions']:,} {test['unit'] if test['executions'] != 1 else test['unit'][:-1]}" if test["executions"] else ""
        reporter.ensure_newline()
        reporter.write(f"{test['verdict']:12}", **{_COLOURS.get(test["verdict"], "bold"): True})
        reporter.write(f" {count:>18} {test['seconds']:7.1f} s  {visible(test['nodeid'])}\n")
        for note in test["notes"]:
            reporter.write_line(f"    {visible(note)}")
    others = len(summaries) - len(listed)
    if others:
        reporter.write_line(f"{others} {'test has' if others == 1 else 'tests have'} no threads: run once, as always")
    for why, number in sorted(Counter(left).items()):
        reporter.write_line(f"not explored: {number} {'test' if number == 1 else 'tests'} {visible(why)}: run once, as always")


def annotate(reporter: pytest.TerminalReporter, summaries: Sequence[Mapping[str, Any]]) -> None:
    """Write GitHub's annotations for tests that fail."""
    for test in summaries:
        place = f"file={_escaped(_relative(test['file']), True)},line={test['line']}," if test["file"] else ""
        message = visible(test["failure"] or test["bounds"]) + (
            f"\npytest {visible(shlex.quote(test['nodeid']))} --interleave-replay={test['token']}" if test["token"] else ""
        )
        reporter.ensure_newline()
        reporter.write_line(f"::error {place}title={_escaped(test['nodeid'], True)}::{_escaped(message)}")


def _relative(file: str) -> str:
    workspace = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    relative = os.path.relpath(file, workspace)
    return file if relative.startswith("..") else relative


def _escaped(text: str, in_property: bool = False) -> str:
    text = visible(text) if in_property else visible_lines(text)
    for character, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), *(((":", "%3A"), (",", "%2C")) if in_property else ())):
        text = text.replace(character, code)
    return text
