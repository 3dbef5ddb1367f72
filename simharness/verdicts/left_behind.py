"""Whether a failure needs what earlier executions have left behind: its token is replayed in a process that was forked before the first.

That process waits, and costs nothing until it is asked. It answers with the account of the replay and, where that passes, with what the
asking process holds that it did not hold itself: the state of modules that are not instrumented, in outline, and the line at which the
replay changes that.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from io import RawIOBase
from types import FrameType
from typing import Any, BinaryIO, NamedTuple

from simharness.endings import end_with_parent
from simharness.engine.kernel import Kernel
from simharness.errors import Nondeterminism, TokenError
from simharness.places import Place, is_foreign
from simharness.runtimes.heap.elsewhere import Outline, differences, outline, uses_others
from simharness.search import tokens
from simharness.simulation.difference import nondeterminism
from simharness.simulation.forks import apart, continued, fork, possible
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


class Replay(NamedTuple):
    """What a replay in the state from before the first execution has shown: its account, None if the schedule cannot be followed there."""

    account: Account | None


class Before:
    """The process from before the first execution, which can be asked once; use as a context around the exploration.

    Args:
        simulation: the exploration's, entered, and nothing executed yet: the process finds in place what an execution needs.
        wanted: whether there is to be such a process. There is none unless instrumented modules use some that are not: only then can
            something be put back by halves. While it waits, each page that this process writes to is copied once.
    """

    def __init__(self, simulation: Simulation, wanted: bool) -> None:
        self._child = 0
        if not (wanted and possible() and simulation.instrumented and uses_others(simulation.names)):
            return
        (asking, asks), (answers, answering) = _pipe(), _pipe()
        parent = _getpid()
        child = fork()
        if not child:
            try:
                _close(asks)
                _close(answers)
                end_with_parent(parent)
                with _fdopen(asking, "rb") as questions, _fdopen(answering, "wb", 0) as pipe:
                    _serve(simulation, questions, pipe)
            finally:
                _exit(0)
        _close(asking)
        _close(answering)
        self._child = child
        self._questions, self._answers = _fdopen(asks, "wb", 0), _fdopen(answers, "rb")
        self._asked = False

    def check(self, counterexample: Counterexample) -> None:
        """Ask whether a failure needs what earlier executions have left behind.

        Raises:
            Nondeterminism: it does.
        """
        replay = self._replay(counterexample.token)
        if replay is not None and (replay.account is None or not replay.account.fails):
            raise Nondeterminism(f"state left behind: {self._left() or _UNSEEN}; without it, the failing execution passes; {_ADVICE}")

    def cause_of(self, error: Exception, first: Witness | None) -> Exception:
        """Return the error; where the first execution went differently when it was repeated, it says what that has left behind."""
        if not isinstance(error, Nondeterminism) or first is None:
            return error
        replay = self._replay(first.token)
        if replay is None or replay.account is None or first.account.first_difference(replay.account) is not None:
            return error
        left = self._left()
        if not left:
            return error
        return nondeterminism(f"state left behind: {left}; {_ADVICE} ({str(error).partition('; look for')[0]})", error.difference)

    def _replay(self, token: str) -> Replay | None:
        """Have an execution replayed there; None if there is no answer."""
        if not self._child or self._asked:
            return None
        self._asked = True
        answer: Replay | None = self._ask(token)
        return answer

    def _left(self) -> str:
        """Say what has been left behind since, and the line at which the replayed execution makes it; empty if nothing is seen."""
        left: str | None = self._ask(outline()[0])
        return left or ""

    def _ask(self, question: Any) -> Any:
        """Return the answer, None if there is none."""
        with suppress(OSError, EOFError):
            self._questions.write(pickle.dumps(question))
            if _select([self._answers], (), (), LONGEST)[0]:
                return pickle.load(self._answers)
        return None

    def __enter__(self) -> Before:
        return self

    def __exit__(self, *error: object) -> None:
        """End the process."""
        if self._child:
            self._questions.close()
            self._answers.close()
            _kill(self._child, _SIGKILL)
            _waitpid(self._child, 0)
            self._child = 0


def _serve(simulation: Simulation, questions: BinaryIO, answers: RawIOBase) -> None:
    """Replay a token, apart; then, if that is asked, too, say what the asking process's outline has that this one's has not.

    For that it is replayed again, here: watching its lines would change what is proved about loops.
    """
    token = pickle.load(questions)
    data, _ = apart(lambda: pickle.dumps(Replay(_replayed(simulation, token, None))))
    if not data:
        return  # an error, such as a watchdog's, shows nothing
    answers.write(data)
    after: Outline = pickle.load(questions)
    before, later = outline()
    paths = differences(before, after)
    lines = _Lines({path: later[path] for path in paths if path in later}, before)
    if paths:
        _replayed(simulation, token, lines)
    answers.write(pickle.dumps(lines.in_words(paths)))


def _replayed(simulation: Simulation, token: str, lines: _Lines | None) -> Account | None:
    """Return the account of a replay, whose lines may be watched; None if the schedule cannot be followed."""
    with suppress(TokenError, Nondeterminism), continued(simulation):
        follow = tokens.Replay(simulation.kernel, simulation.scenario.read_token(token))
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
