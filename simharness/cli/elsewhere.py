"""Continues a command with another interpreter, in whose environment the code of the scenario is installed: `--python PATH`.

This process becomes that one, so signals and the exit status are its own. It begins in the folder of the scenario's file, since packages
in the folder that the user is in would hide those of the environment; so all other paths are made absolute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import typer

from simharness import __version__
from simharness.errors import Misuse
from simharness.visible import shortened

SECONDS = 60.0
_ASK = "import sys, simharness; print(simharness.__version__)"


def continue_with(python: str, context: typer.Context, paths: Mapping[str, str]) -> NoReturn:
    """Replace this process by one of another interpreter that runs the same command.

    Args:
        python: its path.
        context: the command, and its options.
        paths: for the parameters that are paths, what comes after the path in one; the scenario's file is called `scenario`.

    Raises:
        Misuse: there is no interpreter, or simharness is not installed for it in this version.
    """
    found = os.path.abspath(python)
    if not (os.path.isfile(found) and os.access(found, os.X_OK)):
        raise Misuse(f"--python {shortened(python)}: this is no interpreter; give the path of one, such as env/bin/python")
    _check(found, python)
    arguments = [found, "-P", "-m", "simharness", context.command.name or "", *_arguments(context, paths)]
    place = str(context.params["scenario"]).partition("::")[0]
    if os.path.isfile(place):
        os.chdir(os.path.dirname(os.path.abspath(place)))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(found, arguments)


def _check(found: str, given: str) -> None:
    try:
        command = [found, "-P", "-c", _ASK]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=os.path.dirname(found), check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Misuse(f"--python {shortened(given)}: it cannot be run: {type(error).__name__}: {error}") from None
    said = asked.stdout.strip()
    if said != __version__:
        what = f"has simharness {said}, not {__version__}" if said else "has no simharness"
        raise Misuse(f"--python {shortened(given)}: this interpreter {what}: install it there, {shortened(given)} -m pip install FOLDER")


def _arguments(context: typer.Context, paths: Mapping[str, str]) -> list[str]:
    """Return the command line again, without `--python`."""
    options: list[str] = []
    positional: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        value: Any = context.params.get(name)
        if name == "python" or value is None or value is False or value in ((), []) or value == parameter.default:
            continue
        values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if name in paths:
            values = [_absolute(one, paths[name]) for one in values]
        if parameter.param_type_name == "argument":
            positional += values
        elif value is True:
            options.append(parameter.opts[0])
        else:
            options += [text for one in values for text in (parameter.opts[0], one)]
    return [*options, "--", *positional]


def _absolute(text: str, after: str) -> str:
    path, separator, rest = text.partition(after) if after else (text, "", "")
    return os.path.abspath(path) + separator + rest if os.path.sep in path or os.path.exists(path) or not after else text
