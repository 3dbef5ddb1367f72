"""What a token states beside its choices: the kernel's modes and the facts that replaying must know beforehand.

Each is a part of the token that says what it is:

    trio=batches                                    a mode
    facts1=memory+Tickets+1.left,several-on+x.db    the facts, in version 1 of this notation

A fact is its kind's word and then, after a `+`, what it is about; fields are separated by `/`. As in web addresses, a space stands as `+`
and other characters as `%` and their bytes. Nothing else writes or reads facts and modes. A reader never guesses: it refuses a version,
word or mode that it does not know, since without one of them the choices would lead elsewhere.

Kinds of facts and modes are known once the module that declares them is imported; `simharness.runtimes.control` imports all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_to_bytes

from simharness.engine.facts import Fact
from simharness.engine.kernel import Kernel
from simharness.engine.modes import Mode
from simharness.errors import TokenError
from simharness.visible import shortened

VERSION = 1
ELSEWHERE = "replay it under the version that wrote it, or explore again"
_FACTS = re.compile(r"facts([0-9]{1,9})=(.*)", re.DOTALL)
_FACT = re.compile(r"([a-z0-9-]+)(?:\+([A-Za-z0-9_.~+/%-]*))?")
_NOT_QUOTED = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Stated(NamedTuple):
    """What a token states."""

    modes: frozenset[Mode] = frozenset()
    facts: frozenset[Fact] = frozenset()


def write(kernel: Kernel) -> list[str]:
    """Return the parts of a token that state the kernel's modes and facts."""
    facts = kernel.learned.for_tokens()
    modes = sorted(mode.text for mode in kernel.modes)
    return [*modes, f"facts{VERSION}={','.join(sorted(map(encode, facts)))}"] if facts else modes


def read(parts: Sequence[str]) -> Stated:
    """Return what parts of a token state.

    Raises:
        TokenError: this version does not know it, or a part is mangled.
    """
    modes: list[Mode] = []
    facts: list[Fact] = []
    for part in parts:
        stated = _FACTS.fullmatch(part)
        if stated is not None:
            facts += _facts(stated[1], stated[2])
        elif part in Mode.known:
            modes.append(Mode.known[part])
        elif re.fullmatch(r"[a-z-]+=[a-z0-9-]+", part):
            raise TokenError(f"this token was written with {shortened(part)}, which this version of simharness does not know: {ELSEWHERE}")
        else:
            raise TokenError(
                f"this token's part {shortened(part)!r} says neither facts{VERSION}=… nor another thing that this version of simharness "
                "reads; one that an older version wrote has to be found anew: explore again"
            )
    return Stated(frozenset(modes), frozenset(facts))


def encode(fact: Fact) -> str:
    """Return a fact as it stands in a token."""
    values = (quote_plus(getattr(fact, name), errors="surrogatepass") for name in fact.fields)
    return "+".join((fact.word, "/".join(values))) if fact.fields else fact.word


def decode(text: str) -> Fact:
    """Return the fact that stands in a token.

    Raises:
        TokenError: this version does not know it, or it is mangled.
    """
    match = _FACT.fullmatch(text)
    if match is None or _NOT_QUOTED.search(text):
        raise TokenError(f"this token is mangled: {shortened(text)!r} is no fact")
    word, about = match.groups()
    kind = Fact.known.get(word)
    if kind is None or not kind.in_tokens:
        raise TokenError(f"this token rests on a fact that this version of simharness does not know ({shortened(word)}): {ELSEWHERE}")
    values = [] if about is None else about.split("/")
    if len(values) != len(kind.fields):
        raise TokenError(
            f"this token is mangled: {shortened(text)!r} does not say what {word!r} is about: {', '.join(kind.fields) or 'nothing'}"
        )
    try:
        return kind(*(unquote_to_bytes(value.replace("+", " ")).decode(errors="surrogatepass") for value in values))
    except UnicodeDecodeError:
        raise TokenError(f"this token is mangled: {shortened(text)!r} is not UTF-8") from None


def _facts(version: str, text: str) -> Iterable[Fact]:
    if int(version) != VERSION:
        raise TokenError(
            f"this token's facts are in version {version} of their notation; this version of simharness reads {VERSION}: {ELSEWHERE}"
        )
    return map(decode, text.split(","))
