"""Whether a failure needs what earlier executions have left behind: its token is replayed in a process that was forked before the first.

That process waits, and costs nothing until it is asked. It answers with the account of the replay, and with what the asking process holds
that it did not hold itself: the state of modules that are not instrumented, in outline, and the line at which the replay changes that.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from simharness.authoring.scenario import Scenario
from simharness.endings import end_with_parent
from simharness.engine.kernel import Kernel
from simharness.errors import Nondeterminism, TokenError
from simharness.places import Place, is_foreign
from simharness.runtimes.heap.elsewhere import Outline, differences, outline, uses_others
from simharness.search import tokens
from simharness.settings import Settings
from simharness.simulation.difference import nondeterminism
from simharness.simulation.forks import apart, fork, possible
from simharness.simulation.repeating import watched
from simharness.simulation.simulation import Simulation
from simharness.simulation.transcript import Account, Witness
from simharness.verdicts.results import Counterexample

_pipe, _fdopen, _close, _getpid, _exit = os.pipe, os.fdopen, os.close, os.getpid, os._exit
_waitpid, _kill, _select, _SIGKILL = os.waitpid, os.kill, select.select, getattr(signal, "SIGKILL", signal.SIGTERM)
_ADVICE = "name its module, instrument=(…), so that it is put back before each execution, or explore with isolation='fork'"
_UNSEEN = "nothing that a module shows"
LONGEST = 60.0
"""Real seconds to wait for an answer."""


class Answer(NamedTuple):
    """What a replay in the state from before the first execution has shown.

    Attributes:
        account: of the replay; None if the schedule cannot be followed there.
        left: in words, what has been left behind since, and the line at which the replayed execution makes it; empty if nothing is seen.
    """

    account: Account | None
    left: str


class Before:
    """The process from before the first execution, which can be asked once; use as a context around the exploration.

    Args:
        simulation: the exploration's, not entered yet.
        wanted: whether there is to be such a process. There is none unless instrumented modules use some that are not: only then can
            something be put back by halves. While it waits, each page that this process writes to is copied once.
    """

    def __init__(self, simulation: Simulation, wanted: bool) -> None:
        self._child = 0
        scenario, case, settings = simulation.scenario, simulation.parameters, simulation.settings
        if not (wanted and possible() and (simulation.instrument or simulation.instrumented) and uses_others(simulation.names)):
            return
        (asking, self._asking), (self._answering, answering) = _pipe(), _pipe()
        parent = _getpid()
        child = fork()
        if not child:
            try:
                _close(self._asking)
                _close(self._answering)
                end_with_parent(parent)
                with _fdopen(asking, "rb") as pipe:
                    question = pipe.read()
                if question:
                    answer = pickle.dumps(_answer(scenario, case, settings, *pickle.loads(question)))
                    with _fdopen(answering, "wb") as pipe:
                        pipe.write(answer)
            finally:
                _exit(0)
        _close(asking)
        _close(answering)
        self._child = child

    def check(self, counterexample: Counterexample) -> None:
        """Ask whether a failure needs what earlier executions have left behind.

        Raises:
            Nondeterminism: it does.
        """
        answer = self._ask(counterexample.token)
        if answer is not None and (answer.account is None or not answer.account.fails):
            raise Nondeterminism(f"state left behind: {answer.left or _UNSEEN}; without it, the failing execution passes; {_ADVICE}")

    def cause_of(self, error: Exception, first: Witness | None) -> Exception:
        """Return the error; where the first execution went differently when it was repeated, it says what that has left behind."""
        if not isinstance(error, Nondeterminism) or first is None:
            return error
        answer = self._ask(first.token)
        if answer is None or not answer.left or answer.account is None or first.account.first_difference(answer.account) is not None:
            return error
        return nondeterminism(f"state left behind: {answer.left}; {_ADVICE} ({str(error).partition('; look for')[0]})", error.difference)

    def _ask(self, token: str) -> Answer | None:
        """Have an execution replayed there; None if there is no answer."""
        if not self._child or self._asking < 0:
            return None
        data = b""
        with suppress(OSError), _fdopen(self._asking, "wb") as pipe:
            self._asking = -1
            pipe.write(pickle.dumps((token, outline()[0])))
        with _fdopen(self._answering, "rb") as pipe:
            self._answering = -1
            if _select([pipe], (), (), LONGEST)[0]:
                data = pipe.read()
        answer: Answer | None = pickle.loads(data) if data else None
        return answer

    def __enter__(self) -> Before:
        return self

    def __exit__(self, *error: object) -> None:
        """End the process."""
        if self._child:
            for pipe in (self._asking, self._answering):
                if pipe >= 0:
                    _close(pipe)
            _kill(self._child, _SIGKILL)
            _waitpid(self._child, 0)
            self._child = 0


def _answer(scenario: Scenario, case: Mapping[str, Any], settings: Settings, token: str, after: Outline) -> Answer:
    """Replay a token in the state from before the first execution, twice: watching its lines would change what is proved about loops."""
    before, later = outline()
    paths = differences(before, after)
    lines = _Lines({path: later[path] for path in paths if path in later}, before)
    data, _ = apart(lambda: pickle.dumps(_replayed(scenario, case, settings, token, None)))
    account = pickle.loads(data)  # if there is none, this process ends without an answer
    if paths:
        _replayed(scenario, case, settings, token, lines)
    return Answer(account, lines.in_words(paths))


def _replayed(scenario: Scenario, case: Mapping[str, Any], settings: Settings, token: str, lines: _Lines | None) -> Account | None:
    """Return the account of a replay, whose lines may be watched; None if the schedule cannot be followed."""
    with suppress(TokenError, Nondeterminism):  # another error, such as a watchdog's, shows nothing: then there is no answer
        parsed = scenario.read_token(token)
        with Simulation(scenario, {**case, **parsed.case}, settings) as simulation:
            follow = tokens.Replay(simulation.kernel, parsed)
            if lines is not None:
                lines.kernel = simulation.kernel
                sys.settrace(lines.called)
            try:
                return watched(simulation, (), follow.choose)[1]
            finally:
                sys.settrace(None)
    return None


class _Lines:
    """Notes the line at which the first of some paths changes."""

    def __init__(self, paths: Mapping[str, Any], before: Mapping[str, str]) -> None:
        self._paths = paths
        self._before = before
        self._last: Place | None = None
        self.made: dict[str, Place] = {}
        self.kernel: Kernel | None = None

    def called(self, frame: FrameType, event: str, argument: Any) -> Any:
        """A function is called: look at its lines, unless it is the harness's or the standard library's, or makes a template."""
        if self.kernel is not None and self.kernel.rehearsed:
            return None
        file = frame.f_code.co_filename
        return self._line if self._paths and not is_foreign(file) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if self._last is not None:
            for path, later in self._paths.items():
                if path not in self.made and later() != self._before[path]:
                    self.made[path] = self._last
        self._last = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        return self._line

    def in_words(self, paths: list[str]) -> str:
        """Say what was left behind, and where it is made."""
        path = next(iter(self.made), paths[0] if paths else "")
        place = self.made.get(path)
        return f"{path}{f', made at {place}' if place is not None else ''}"
