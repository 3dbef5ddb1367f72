"""Confirms results in a fresh process: same scenario, same token, another hash seed, nothing left over from exploring.

A case's counterexample is confirmed or, where there is none, its first execution; the trace hashes must be equal. A few processes serve
all cases that are confirmed together: each imports the scenarios' files once and then forks for each replay, so that no replay sees what
another has left behind. It has this process's interpreter options, module path, working directory and arguments, and gets everything
else on its standard input. A fresh process that gives no answer (the file cannot be imported there, it crashes) proves nothing: the
result says so and is otherwise unchanged. A different answer makes the case an error: not deterministic.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import IO, Any

from simharness.authoring.loading import load
from simharness.authoring.scenario import Scenario, is_drawn
from simharness.endings import end_with_parent
from simharness.errors import Nondeterminism, SimharnessError, TokenError
from simharness.places import words_of
from simharness.runtimes import control
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation import forks
from simharness.simulation.repeating import differ, watched
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import Account, Witness, from_plain, to_plain
from simharness.verdicts.results import FRESH, HERE, Result, Verdict

LONGEST = 300.0
"""Real seconds to wait for a fresh process."""
_SENT = ("seed", "max_steps", "watchdog", "instrument", "trio_order", "asyncio_order", "outside", "network", "programs")
"""The settings that a fresh process gets."""
_START = (
    "import json, sys; given = json.load(sys.stdin); sys.path[:] = given['path']; import simharness.verdicts.confirm as c; c.answer(given)"
)


def confirmed(results: Sequence[Result], scenarios: Sequence[Scenario], settings: Settings, workers: int = 1) -> list[Result]:
    """Replay in a fresh process what the results depend on, for scenarios that were loaded from a file; return the judged results.

    Args:
        scenarios: for each result, its scenario.
        settings: those of the exploration.
        workers: how many fresh processes may run at once.
    """
    judged = list(results)
    if callable(settings.network) or callable(settings.programs):
        return judged  # a fresh process cannot be given a function; one that the scenario names is there
    asked = [(n, witness) for n, result in enumerate(judged) if _is_addressable(scenarios[n], result) and (witness := _witness(result))]
    answers = _ask([(scenarios[n].address, witness.token) for n, witness in asked], settings, workers)
    for (n, witness), answer in zip(asked, answers, strict=True):
        judged[n] = _judged(judged[n], witness, answer)
    return judged


def _is_addressable(scenario: Scenario, result: Result) -> bool:
    """Whether an address and a token identify the case: its values have distinct texts, or are literals that were drawn."""
    if "::" not in scenario.address:
        return False
    for name, value in result.parameters.items():
        known = [known for known in scenario.matrix.get(name, ()) if not is_drawn(known)]
        text = tokens.text_of(value)
        if name == "faults" and text not in map(tokens.text_of, known):
            continue  # any fault model can be made from its text
        if known and [alike for alike in known if tokens.text_of(alike) == text] != [value]:
            return False
        if not known and repr(tokens.value_of(text)) != repr(value):
            return False
    return True


def _witness(result: Result) -> Witness | None:
    counterexample = result.counterexample
    return result.first if counterexample is None else Witness(counterexample.token, counterexample.account)


def _judged(result: Result, witness: Witness, answer: Mapping[str, Any]) -> Result:
    """Return the result, confirmed, not confirmed because there is no answer, or refuted."""
    counterexample = result.counterexample
    if "account" not in answer:
        why = f"a fresh process gave no answer: {answer['error']}"
        if counterexample is None:
            return replace(result, bounds=f"{result.bounds}; not replayed: {why}")
        return replace(result, counterexample=replace(counterexample, confirmed=f"{HERE}; {why}"))
    fresh = from_plain(answer["account"])
    error = differ(witness.account, fresh, FRESH, ("this process", "a fresh one, another hash seed"))
    if error is None:
        return result if counterexample is None else replace(result, counterexample=replace(counterexample, confirmed=FRESH))
    if counterexample is not None and fresh.fails:
        why = f"a fresh process fails, too, and not in the same way: {str(error).partition('; look for')[0]}"
        return replace(result, counterexample=replace(counterexample, confirmed=f"{HERE}; {why}"))
    return replace(
        result,
        verdict=Verdict.INCONCLUSIVE,
        counterexample=None,
        first=None,
        error=str(error),
        error_status=Nondeterminism.exit_status,
        difference=error.difference,
    )


# In the process that asks


def _ask(replays: Sequence[tuple[str, str]], settings: Settings, workers: int) -> list[dict[str, Any]]:
    """Return an answer for each (address, token): {"account": …} or {"error": why there is none}."""
    shares = [replays[first::workers] for first in range(min(workers, len(replays)))]
    with ExitStack() as stack:
        asked = [stack.enter_context(_asked(share, settings)) for share in shares]
        answers = [wait() for wait in asked]
    return [answers[n % workers][n // workers] for n in range(len(replays))]


@contextmanager
def _asked(replays: Sequence[tuple[str, str]], settings: Settings) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Start a fresh process that replays, and end it with the block; yield a function that waits for its answers.

    It reads from a file and writes to another, so that neither process waits for the other.
    """
    given = {
        "path": list(map(str, sys.path)),
        "arguments": sys.argv,
        "parent": os.getpid(),
        "replays": replays,
        "settings": {name: getattr(settings, name) for name in _SENT},
    }
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not in the stubs; multiprocessing uses it
    environment = {**os.environ, "PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    command = [sys.executable or "python3", *options, "-c", _START]
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as output:
        request.write(json.dumps(given).encode())
        request.seek(0)
        try:
            process = subprocess.Popen(command, stdin=request, stdout=output, stderr=subprocess.PIPE, env=environment)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            why = {"error": f"it could not be started: {error}"}
            yield lambda: [why] * len(replays)
            return
        with process:
            try:
                yield lambda: _answers(process, len(replays), output)
            finally:
                process.kill()


def _answers(process: subprocess.Popen[bytes], number: int, output: IO[bytes]) -> list[dict[str, Any]]:
    """Wait for a process; return its answers, in the order of the replays."""
    try:
        errors = process.communicate(timeout=LONGEST)[1].decode(errors="replace")
        last = (errors.strip().splitlines() or [""])[-1]
        why = f"it ended with status {process.returncode}{': ' if last else ''}{last}"
    except subprocess.TimeoutExpired as error:
        why = f"it did not end: {error}"
    answers: dict[int, dict[str, Any]] = {}
    output.seek(0)
    for line in output:
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            answers[answer["number"]] = answer
    return [answers.get(n, {"error": why}) for n in range(number)]


# In the fresh process


def answer(given: Mapping[str, Any]) -> None:
    """Serve `_ask`: print one line of JSON for each replay."""
    end_with_parent(given["parent"])
    sys.argv[:] = given["arguments"]
    output = os.dup(1)
    os.dup2(2, 1)  # what scenarios print goes elsewhere
    settings = Settings(**given["settings"])
    scenarios: dict[str, Scenario | str] = {}
    for address, _ in given["replays"]:
        if address not in scenarios:
            try:
                scenarios[address] = load(address)[0]
            except (SimharnessError, SystemExit) as error:
                scenarios[address] = str(error) or type(error).__name__
    with control.installed():
        for number, (address, token) in enumerate(given["replays"]):
            scenario = scenarios[address]
            reply = {"error": scenario} if isinstance(scenario, str) else _apart(scenario, token, settings)
            os.write(output, (json.dumps({"number": number, **reply}) + "\n").encode())


def _apart(scenario: Scenario, token: str, settings: Settings) -> dict[str, Any]:
    """Replay in a fork of this process, where there are forks."""
    if not forks.possible():
        return _replayed(scenario, token, settings)
    data, status = forks.apart(lambda: pickle.dumps(_replayed(scenario, token, settings)))
    if not data:
        return {"error": f"it ended with status {status}"}
    reply: dict[str, Any] = pickle.loads(data)
    return reply


def _replayed(scenario: Scenario, token: str, settings: Settings) -> dict[str, Any]:
    """Follow a token as far as possible, and return the account."""
    try:
        return {"account": to_plain(_account(scenario, token, settings))}
    except SimharnessError as error:
        return {"error": str(error)}
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {words_of(error)}"}


def _account(scenario: Scenario, token: str, settings: Settings) -> Account:
    parsed = scenario.read_token(token)
    with Simulation(scenario, scenario.case(parsed.case), settings) as simulation:
        follow = tokens.Replay(simulation.kernel, parsed)

        def choose(enabled: list[int]) -> int:
            try:
                return follow.choose(enabled)
            except TokenError:
                return enabled[0]

        return watched(simulation, (), choose)[1]
