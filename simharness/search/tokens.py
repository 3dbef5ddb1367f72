"""Replay tokens: the choice sequence of one execution, written so that it can be copied, pasted and typed.

    one_child:protocol=lease:a12b5a3:1f9c2e

names the scenario, its parameters, and which actor moved for how many steps (`a` is the first actor that was created, `b` the second, …;
`t` is the clock; `b=2` is one step of b that takes alternative 2 of a data choice, or has that fault; `!crash.0.1` is a crash of the
first process), and ends with a checksum of those steps. A token holds every choice, forced ones too, so it does not depend on how any
strategy searches. The kernel's modes, and the facts that decide what is a scheduling point (a connection is used by several actors),
follow as further parts, if there are any (`simharness.search.stated`). If the execution depends on something that differs between
versions of Python (the numbers of `random`, code of the standard library that makes steps, the wording of an interpreter's exception),
the version is the last part, such as `py3.11`, and other versions refuse the token.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import warnings
from collections.abc import Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from simharness.engine.actors import ALTERNATIVES, SHIFT
from simharness.engine.kernel import Kernel
from simharness.engine.record import VERSIONED
from simharness.errors import TokenError
from simharness.search import stated
from simharness.search.stated import Stated
from simharness.visible import shortened

LETTERS = "abcdefghijklmnopqrsuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
CLOCK_LETTER = "t"
LONGEST = 1_000_000
"""Characters of a token."""
MOST_STEPS = 1_000_000
LONGEST_LITERAL = 10_000
"""Characters of a parameter's value that may be a literal."""
_VERSION = re.compile(r"py\d{1,3}\.\d{1,3}", re.ASCII)
_RUN = re.compile(r"([a-zA-Z]|\.\d{1,6}\.|![a-z_]{1,20}\.\d{1,6}\.)(?:=(\d{1,5})|(\d{1,7}))", re.ASCII)
_SUSPECT = re.compile(r"\\|\d[a-zA-Z]")
"""In what reads like a literal: the compiler may warn about it."""


def write(name: str, parameters: Mapping[str, Any], kernel: Kernel) -> str:
    """Return the token of the kernel's last execution."""
    parts = [quote(name, errors="surrogatepass"), _case(parameters), write_choices(kernel), fingerprint(kernel)]
    parts += stated.write(kernel)
    if VERSIONED in kernel.context:
        parts.append(this_python())
    return ":".join(parts)


def this_python() -> str:
    """Return the version of Python as it appears in tokens."""
    return f"py{sys.version_info.major}.{sys.version_info.minor}"


def write_choices(kernel: Kernel) -> str:
    """Return the choices of the kernel's last execution in the token's notation."""
    ranks = {index: rank for rank, index in enumerate(kernel.cast.actors)}
    parts: list[str] = []
    last, count = "", 0
    for key in kernel.record.keys:
        mover = CLOCK_LETTER if key == kernel.movers.clock_key else _fault(kernel, key) or _letter(ranks[key >> SHIFT])
        if key & ALTERNATIVES:
            if count:
                parts.append(f"{last}{count}")
            parts.append(f"{mover}={key & ALTERNATIVES}")
            last, count = "", 0
        elif mover == last:
            count += 1
        else:
            if count:
                parts.append(f"{last}{count}")
            last, count = mover, 1
    if count:
        parts.append(f"{last}{count}")
    return "".join(parts)


def fingerprint(kernel: Kernel) -> str:
    """Return six hex digits that identify the steps of the kernel's last execution."""
    text = "\n".join(f"{operation.kind} {operation.detail}" for operation in kernel.record.operations)
    return hashlib.sha256(kernel.canonical(text).encode(errors="backslashreplace")).hexdigest()[:6]


class Token(NamedTuple):
    """A token in its parts."""

    case: dict[str, Any]
    choices: str
    check: str
    stated: Stated


def read(token: str, name: str, parameters: Mapping[str, Any] | None, texts: Mapping[str, Mapping[str, Any]]) -> Token:
    """Parse a token.

    Args:
        name: of the scenario that will replay it.
        parameters: if given, the case that will replay it; a token of another case is refused.
        texts: for each parameter, its known values by their text.

    Raises:
        TokenError: not a token, or one of another scenario, case or version of Python, or one beyond the bounds.
    """
    if len(token) > LONGEST:
        raise TokenError(f"this token is longer than {LONGEST:,} characters, which no replay token is")
    parts = token.strip().split(":")
    version = parts.pop() if len(parts) > 4 and _VERSION.fullmatch(parts[-1]) else ""
    if len(parts) < 4 or _RUN.sub("", parts[2]):
        raise TokenError(f"{shortened(token)!r} is not a replay token; it should look like {name}:protocol=lease:a12b5a3:1f9c2e")
    _check_size(parts[2])
    if _unquoted(parts[0]) != name:
        raise TokenError(f"this token belongs to scenario {shortened(_unquoted(parts[0]))!r}, not to {name!r}")
    if version and version != this_python():
        raise TokenError(
            f"this token was written under Python {version[2:]} and depends on what may differ in Python {this_python()[2:]}, which is "
            f"running now: replay it under Python {version[2:]}, or explore again"
        )
    case: dict[str, Any] = {}
    for pair in filter(None, parts[1].split(",")):
        key, _, text = pair.partition("=")
        key, text = _unquoted(key), _unquoted(text)
        known = texts.get(key, {})
        if known and text not in known and key != "faults":
            raise TokenError(f"this token says {shortened(key)}={shortened(text)}; the scenario's {key} is one of {', '.join(known)}")
        case[key] = known[text] if text in known else value_of(text)
    if parameters is not None:
        if _case(parameters) != parts[1]:
            raise TokenError(f"this token belongs to the case {shortened(parts[1]) or '(no parameters)'}, not to {_case(parameters)}")
        case = dict(parameters)
    return Token(case, parts[2], parts[3], stated.read(parts[4:]))


def scenario_of(token: str) -> str:
    """Return the name of the scenario that a token says it belongs to."""
    try:
        return _unquoted(token[:LONGEST].strip().partition(":")[0])
    except TokenError:
        return ""


def _check_size(choices: str) -> None:
    """Refuse choices that would fill the memory, or that stand for others."""
    steps = 0
    for _, alternative, count in _RUN.findall(choices):
        steps += 1 if alternative else int(count)
        if alternative and int(alternative) > ALTERNATIVES:
            raise TokenError(f"this token is mangled: a step takes alternative {alternative}, and no step has so many")
    if steps > MOST_STEPS:
        raise TokenError(f"this token has {steps:,} steps, and none has more than {MOST_STEPS:,}")


def _unquoted(text: str) -> str:
    try:
        return unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:
        raise TokenError(f"this token is mangled: {shortened(text)!r} is not UTF-8") from None


class Replay:
    """A strategy that follows a token's choices, under the modes and facts that it states; it raises TokenError where they do not fit."""

    def __init__(self, kernel: Kernel, token: Token) -> None:
        kernel.turn_on(*token.stated.modes)
        kernel.learned.know(token.stated.facts)
        self.kernel = kernel
        self.check = token.check
        self.queue: list[tuple[str, int]] = []
        for match in _RUN.finditer(token.choices):
            mover, alternative, count = match.groups()
            self.queue += [(mover, int(alternative))] if alternative else [(mover, 0)] * int(count)
        self.taken = 0

    def choose(self, enabled: list[int]) -> int:
        """Return the token's next choice."""
        kernel = self.kernel
        if self.taken == len(self.queue):
            raise TokenError(f"this token does not fit: it ends after {self.taken} steps, but actors can still move: has the code changed?")
        mover, alternative = self.queue[self.taken]
        self.taken += 1
        if mover == CLOCK_LETTER:
            key, name = kernel.movers.clock_key, "the clock"
        elif mover.startswith("!"):
            kind, which = mover[1:].split(".")[:2]
            process = next(islice(_struck_by(kernel, kind), int(which), None), "")
            key = kernel.movers.nothing_key if kind == "nothing" else kernel.movers.fault_key(kind, process) + alternative
            name = kernel.mover(key)
        else:
            actors = list(kernel.cast.actors.values())
            rank = _rank(mover)
            actor = actors[rank] if rank < len(actors) else None
            key, name = (actor.key + alternative, actor.name) if actor is not None else (ABSENT, "an actor that does not exist")
        if key not in enabled:
            raise TokenError(f"this token does not fit: at step {self.taken} it moves {name}, which cannot move: has the code changed?")
        return key

    def finish(self) -> None:
        """Raise TokenError if the token has more choices than the execution, which is over, or was written for other steps."""
        if self.taken != len(self.queue):
            raise TokenError(
                f"this token does not fit: the execution ended after {self.taken} of its {len(self.queue)} steps: has the code changed?"
            )
        if fingerprint(self.kernel) != self.check:
            raise TokenError("this token does not fit: its choices can be made, but lead to other steps: the code has changed")


ABSENT = -2


def _fault(kernel: Kernel, key: int) -> str | None:
    """Return a token's text for a fault that is a mover: `!crash.0.` is a crash of the first process; None for other movers."""
    mover = kernel.movers.faults.get(key >> SHIFT)
    if mover is None:
        return None
    kind, process = mover
    return f"!{kind}.{list(_struck_by(kernel, kind)).index(process)}." if process else "!nothing.0."


def _struck_by(kernel: Kernel, kind: str) -> dict[str, None]:
    """Return what faults of this kind can strike in the execution, in the order of appearance: processes, or what strikers strike."""
    cast, faults = kernel.cast, kernel.movers.faults
    struck = [what for of, what in (faults[index] for index in cast.strikers) if of == kind]
    return dict.fromkeys(struck or (actor.process for actor in cast.actors.values()))


def text_of(value: Any) -> str:
    """Return a parameter's value as it appears in a token: its text; a string that reads like another literal is quoted."""
    return repr(value) if isinstance(value, str) and _literal(value) is not None else str(value)


def value_of(text: str) -> Any:
    """Return the value of a token's text where the scenario does not list the values: a literal, or else the text itself."""
    literal = _literal(text)
    return text if literal is None else literal[0]


def _literal(text: str) -> tuple[Any] | None:
    """Return the value, in a tuple, if the text is its repr; else None."""
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        if _SUSPECT.search(text) is None:
            value = ast.literal_eval(text)
        else:
            with warnings.catch_warnings(action="ignore"):
                value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return (value,) if repr(value) == text else None


def _case(parameters: Mapping[str, Any]) -> str:
    return ",".join(f"{_quoted(name)}={_quoted(text_of(value))}" for name, value in parameters.items())


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _letter(rank: int) -> str:
    return LETTERS[rank] if rank < len(LETTERS) else f".{rank}."


def _rank(letter: str) -> int:
    return int(letter.strip(".")) if letter.startswith(".") else LETTERS.index(letter)
