"""Files in which it stands how far explorations are: JSON, written whole or not at all, with one entry for each case.

A file says which code, which Python and which settings it is good for. Whoever goes on from it anywhere else is refused, in one line that
says what differs. Cases may be explored by several processes at once: each replaces its own entry, under a lock of the folder. What other
code has left in the file is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from simharness.authoring.scenario import Parameters, Scenario
from simharness.digests import other_code, own_code
from simharness.engine.facts import Mark
from simharness.errors import Misuse
from simharness.exploring.parallel.plain import NotPlain
from simharness.exploring.parallel.state import Saved, state_of, with_failure
from simharness.exploring.parallel.written import Json
from simharness.exploring.rounds import Rounds
from simharness.search import tokens
from simharness.settings import Settings, Shard
from simharness.visible import shortened

WORD = "simharness checkpoint"
VERSION = 1
EVERY = 1.0
"""Seconds between two writes of a case's entry."""
SPARE = 30
"""A write comes after at least so many times the time that the last one took."""
COMPARED = ("max_steps", "seed", "instrument", "trio_order", "outside", "network", "programs")
"""The settings on which the tree depends."""
_monotonic = time.monotonic
_open, _replace, _fsync, _unlink, _close, _os_open = open, os.replace, os.fsync, os.unlink, os.close, os.open
Entry = dict[str, Any]


def name_of(scenario: Scenario, parameters: Parameters) -> str:
    """Return the name of a case's entry."""
    case = [f"{name}={tokens.text_of(value)}" for name, value in parameters.items() if value is not None]
    return " ".join([f"{scenario.__module__.removeprefix('simharness_scenarios_')}::{scenario.name}", *case])


class Keeper:
    """Keeps where the exploration of one case stands, and knows where to go on.

    Args:
        joined: entries of a file that others have written; default: that of `settings.resume`.
    """

    def __init__(
        self,
        scenario: Scenario,
        parameters: Parameters,
        how: tuple[str, bool],
        settings: Settings,
        joined: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.shard = Shard(0, 1) if joined is not None else None if settings.shard is None else Shard.read(settings.shard)
        self._path = settings.checkpoint
        self._name = name_of(scenario, parameters)
        strategy, stop_on_first = how
        self._about: Entry = {
            "scenario": scenario.address,
            "parameters": {name: tokens.text_of(value) for name, value in parameters.items()},
            "strategy": strategy,
            "stop_on_first": stop_on_first,
            "max_delay": scenario.max_delay,
            "allow_deadlock": scenario.allow_deadlock,
            "settings": {name: _in_words(getattr(settings, name)) for name in COMPARED},
        }
        self._next = 0.0
        self._state: Json | None = None
        self._saved: Saved | None = None
        entries = joined
        if entries is None and settings.resume is not None:
            entry = read(settings.resume)["cases"].get(self._name)
            entries = [] if entry is None else [entry]
            for entry in entries:
                self._compare(settings.resume, entry)
        if entries:
            self._saved = Saved([entry["state"] for entry in entries])

    def _compare(self, path: str, entry: Mapping[str, Any]) -> None:
        """Refuse an entry that was explored in another way."""
        for name, now in {**self._about, **self._about["settings"]}.items():
            before = {**entry, **entry["settings"]}.get(name)
            if name not in ("settings", "scenario", "parameters") and before != now:
                raise Misuse(f"{shortened(path)}: this was explored with {name}={before!r}, not {now!r}: explore in the same way, or anew")

    def restore(self, rounds: Rounds, mark: Mark) -> bool:
        """Let a round that begins go on from where it was kept, if it was; return False if it has to start over before."""
        if self._saved is not None and not self._saved.restore(rounds, mark):
            return False
        self._saved = None
        return True

    def look(self, rounds: Rounds) -> None:
        """Keep where the search stands, if it is time to."""
        if self._path is not None and _monotonic() >= self._next:
            self.keep(rounds)

    def keep(self, rounds: Rounds) -> None:
        """Keep where the search stands."""
        if self._path is None:
            return
        began = _monotonic()
        mark = rounds.simulation.kernel.learned.mark()
        rounds.simulation.settle()  # another process could not find what executions of this one have changed
        if not mark.holds:
            return
        try:
            state = state_of(rounds)
        except NotPlain as error:
            raise Misuse(
                f"checkpoint={self._path!r}: an outcome is {error}; only texts, numbers, None, and tuples and sets of them can be kept"
            ) from None
        self._put(state)
        now = _monotonic()
        self._next = now + max(EVERY, SPARE * (now - began))

    def _put(self, state: Json) -> None:
        assert self._path is not None
        self._state = state
        put(self._path, self._name, {**self._about, "state": state})

    def keep_failure(self, rounds: Rounds) -> None:
        """Keep a failing execution with where the search stood before."""
        if self._state is not None and rounds.tally.first_failure is not None:
            self._put({**self._state, **with_failure(rounds)})


def _in_words(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return list(value)
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else value


# The file


def read(path: str) -> Entry:
    """Return what stands in a file.

    Raises:
        Misuse: it is no checkpoint, or not one for this code and this Python.
    """
    said = shortened(path)
    try:
        with _open(path, encoding="utf-8") as file:
            content = json.load(file)
        version = content[WORD]
    except FileNotFoundError:
        raise Misuse(f"{said}: there is no such file; `--checkpoint {said}` writes one") from None
    except OSError as error:
        raise Misuse(f"{said}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Misuse(f"{said}: this is no checkpoint: `--checkpoint FILE` writes one") from None
    if version != VERSION:
        raise Misuse(f"{said}: version {shortened(str(version))} of checkpoints; this version of simharness reads {VERSION}: explore anew")
    if content["python"] != _python():
        raise Misuse(f"{said}: written on {shortened(content['python'])}, and this is {_python()}: go on there, or explore anew")
    different = other_code(content["code"])
    if different:
        raise Misuse(f"{said}: {different} since: explore anew")
    return dict(content)


def put(path: str, name: str, entry: Entry) -> None:
    """Replace the entry of a case.

    Raises:
        Misuse: the file cannot be written.
    """
    code = own_code()
    try:
        with _locked(os.path.dirname(os.path.realpath(path))):
            cases = {}
            with contextlib.suppress(Misuse):
                before = read(path)
                cases, code = before["cases"], {**before["code"], **code}
            content = {WORD: VERSION, "python": _python(), "code": code, "cases": {**cases, name: entry}}
            _write(os.path.realpath(path), content)
    except OSError as error:
        raise Misuse(f"{shortened(path)}: cannot be written ({error.strerror})") from None


def _write(path: str, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".simharness-")
    try:
        with _open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, separators=(",", ":"))
            file.flush()
            _fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        _replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            _unlink(temporary)
        raise


def _mode(path: str) -> int:
    """Return the mode of a file that is replaced, or else of a new one."""
    if os.path.exists(path):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """A block in which no other process replaces an entry of a file in this folder."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = _os_open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _close(descriptor)


# What a file is good for


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}"
