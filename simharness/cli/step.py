"""`simharness step`: a screen on a terminal, else line by line; ends by printing the token of the steps taken."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from simharness.authoring.loading import load, only_of
from simharness.authoring.scenario import Scenario
from simharness.cli.exits import errors, put
from simharness.engine.faults import KINDS, Faults
from simharness.errors import Misuse
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation.imports import watched_import
from simharness.step.lines import Lines
from simharness.step.stepper import Stepper

WIDTH = 100


def step(
    path: Annotated[str, typer.Argument(metavar="PATH::SCENARIO", help="The scenario to step through.")],
    token: Annotated[str | None, typer.Argument(help="The token of an execution, or of its first steps, to follow.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the case; may be given several times.")
    ] = None,
    faults: Annotated[str | None, typer.Option(metavar="KIND=NUMBER,…", help=f"Faults that may strike: {', '.join(KINDS)}.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Read choices from standard input, one a line, also on a terminal.")] = False,
) -> None:
    """Pick the actor that moves next, or step backwards; print the token of the steps taken."""
    with errors():
        with watched_import():
            scenario = only_of(load(path), path, None if token is None else tokens.scenario_of(token))
        if token is not None and (parameter or faults):
            raise Misuse("the token names its case: leave out --parameter and --faults")
        walk(scenario, token, _case(scenario, parameter or [], faults), lines)


def walk(scenario: Scenario, token: str | None, case: dict[str, Any], lines: bool, commands: tuple[str, str] | None = None) -> None:
    """Step through a scenario's case, or along a token: on a screen if there is a terminal, else line by line.

    Args:
        commands: what replays and what steps, without the token; default: those of the scenario's address.
    """
    stepper = Stepper(scenario, case, token, Settings())
    if not lines and sys.stdin.isatty() and sys.stdout.isatty():
        from simharness.step.screen import Screen

        screen = Screen(stepper)
        screen.run()
        if screen.failed is not None:
            raise screen.failed
    else:
        Lines(stepper, sys.stdin, sys.stdout, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)).run()
    for text in farewell(stepper, scenario.address, commands):
        put(text)


def farewell(stepper: Stepper, address: str, commands: tuple[str, str] | None = None) -> list[str]:
    """Return the last lines: the token of the steps taken and, unless the execution has ended, that of a whole one."""
    point = stepper.point
    replays, steps = commands or (f"simharness replay {shlex.quote(address)}", f"simharness step {shlex.quote(address)}")
    if point.end:
        return [f"{replays} '{point.token}'"]
    whole, failure = stepper.whole()
    result = f"fails: {failure}" if failure else "does not fail"
    taken = "this step" if point.position == 1 else f"these {point.position} steps"
    return [
        f"{taken}: {steps} '{point.token}'",
        f"an execution with this prefix, continued without further switches, {result}",
        f"{replays} '{whole}'",
    ]


def _case(scenario: Scenario, selections: Sequence[str], faults: str | None) -> dict[str, Any]:
    """Return the parameters that were asked for; each of the others takes its first value.

    Raises:
        Misuse: a parameter or value that the scenario does not have.
    """
    case: dict[str, Any] = {}
    for selection in selections:
        name, equals, text = selection.partition("=")
        known = {str(value): value for value in scenario.matrix.get(name.strip(), ())}
        if not equals or text.strip() not in known:
            has = "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in scenario.matrix.items()) or "no parameters"
            raise Misuse(f"--parameter {selection}: write NAME=VALUE; {scenario.name} has {has}")
        case[name.strip()] = known[text.strip()]
    if faults is not None:
        Faults.of(faults)
        case["faults"] = faults
    return case
