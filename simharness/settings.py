"""The settings of an exploration: plain data that can be sent to another process."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simharness.errors import Misuse
from simharness.visible import shortened

TRIO_ORDERS = ("any", "batches")
ASYNCIO_ORDERS = ("loop", "arrivals", "any")
ISOLATIONS = ("undo", "fork")
ATOMICITIES = ("language", "gil")


def check_order(order: str, library: str = "trio") -> str:
    """Return the value of an option `trio_order` or `asyncio_order`.

    Raises:
        Misuse: it is not a known order.
    """
    orders = TRIO_ORDERS if library == "trio" else ASYNCIO_ORDERS
    if order not in orders:
        raise Misuse(f"{library}_order={order!r}: it must be one of {', '.join(orders)}")
    return order


@dataclass(frozen=True)
class Proof:
    """A bound within which it can be proved that nothing fails.

    Attributes:
        measure: "lateness", the seconds by which actors are late together, "preemptions", or "memory", that of modules that nobody named.
        most: lateness stays below it, and is 0 if it is 0; preemptions are at most as many; 0 for memory, which is then left out.
        names: the modules whose memory is left out.
    """

    measure: str
    most: float
    names: tuple[str, ...] = ()

    @staticmethod
    def of(text: str) -> Proof:
        """Return the bound that a text names.

        Raises:
            Misuse: it names none.
        """
        match = _PROOF.fullmatch(text.replace(" ", "")) if isinstance(text, str) else None
        if match is None or (match[1] and not float(match[1])):
            raise Misuse(f"proof={text!r}: write lateness=0, lateness<SECONDS or preemptions<=NUMBER, such as lateness<0.9")
        if match[2]:
            return Proof("preemptions", int(match[2]))
        return Proof("lateness", float(match[1] or 0))

    def __str__(self) -> str:
        if self.measure == "memory":
            return f"without the memory of {', '.join(self.names)}"
        if self.measure == "preemptions":
            return f"preemptions<={self.most:g}"
        return f"lateness<{self.most:g}" if self.most else "lateness=0"

    def in_words(self) -> str:
        """Say within what nothing fails."""
        if self.measure == "memory":
            return str(self)
        if self.measure == "preemptions":
            return f"in schedules with at most {self.most:g} preemption{'' if self.most == 1 else 's'}"
        return f"with threads together late by less than {self.most:g} s" if self.most else "with no thread late"


_PROOF = re.compile(r"lateness<(\d+\.?\d*|\.\d+)s?|lateness=0|preemptions<=(\d+)")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the work; `number` counts from 1, and is 0 where all that others have explored is joined."""

    number: int
    of: int

    @staticmethod
    def read(text: Any) -> Shard:
        """Return what "2/4" names.

        Raises:
            Misuse: it names nothing.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text) if isinstance(text, str) else None
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise Misuse(f"shard={shortened(repr(text))}: write I/N, such as 2/4 for the second of four")
        return Shard(int(match[1]), int(match[2]))


DOWN, NONE, REFUSED = "down", "none", "refused"


@dataclass(frozen=True)
class Outside:
    """What the world outside of a simulation answers; what has no answer is refused.

    Attributes:
        network: "down", or a function that is called with the name of the call and its arguments, such as
            `("socket.getaddrinfo", "example.org", 443)`, and does what the call would do.
        programs: "none", or a function that is called with the arguments of a program, and returns its exit status or a
            `subprocess.CompletedProcess`.
    """

    network: Any = None
    programs: Any = None

    @staticmethod
    def of(outside: Any = None, network: Any = None, programs: Any = None, otherwise: Outside | None = None) -> Outside:
        """Return what the options say; "refused" gives no answer.

        Args:
            outside: "down" is `network="down"` and `programs="none"`.
            otherwise: what is taken where no option says anything.

        Raises:
            Misuse: an option has another value.
        """
        if outside not in (None, DOWN, REFUSED):
            raise Misuse(f"outside={shortened(repr(outside))}: it is 'down' or 'refused'")
        for name, value, word in (("network", network, DOWN), ("programs", programs, NONE)):
            if not (value in (None, word, REFUSED) or callable(value)):
                raise Misuse(f"{name}={shortened(repr(value))}: it is {word!r}, 'refused' or a function that answers")
        base = otherwise or Outside()
        if outside is not None:
            base = Outside(DOWN, NONE) if outside == DOWN else Outside()
        answers = ((network, base.network), (programs, base.programs))
        return Outside(*(default if given is None else None if given == REFUSED else given for given, default in answers))

    def in_words(self) -> str:
        """Say what the outside answers; empty if everything is refused."""
        said = []
        if self.network is not None:
            said.append("no network" if self.network == DOWN else f"the network is {_called(self.network)}")
        if self.programs is not None:
            said.append("no programs" if self.programs == NONE else f"programs are {_called(self.programs)}")
        return f"outside: {', '.join(said)}" if said else ""


def _called(function: Any) -> str:
    return f"what {getattr(function, '__name__', type(function).__name__)} answers"


@dataclass(frozen=True)
class Settings:
    """Limits and options of an exploration.

    Attributes:
        max_executions, max_seconds: give up after this many executions or real seconds; the verdict is then inconclusive. An execution that
            is under way when the time is over has a second to end.
        max_steps: an execution with more steps is cut; the verdict is then inconclusive.
        preemptions, delays: explore only schedules with at most this many (only one of the two); "verified" then means within that bound.
        proof: a bound that is enough, "lateness<0.9" or "preemptions<=1", where exploring everything takes too long: the verdict is
            "verified" if nothing fails within it. What lies beyond is explored a little.
        depth: of the bugs that "pct" looks for: how many ordering constraints a bug needs to show.
        seed: of the random numbers of the code under test, and of samplers.
        watchdog: real seconds without a step after which a simulation counts as blocked and is given up.
        shrink: executions spent on shortening a counterexample and on finding its cause; 0 does neither.
        confirm: also replay results in a fresh process, if the scenario was loaded from a file.
        instrument: modules, besides the project's, whose reads and writes of shared memory are scheduling points; "test": only the module
            with the scenario or the test, and those that are named beside this word.
        trio_order: "any" or "batches", instead of the scenario's.
        asyncio_order: "arrivals", "loop" or "any", instead of the scenario's.
        isolation: "undo": what an execution has changed in instrumented modules is put back before the next one. "fork": each execution has
            a process of its own, which takes a few milliseconds longer.
        workers: how many processes explore the case, once it has taken a second; the result is the same for any number.
        cluster: explore on the workers of this scheduler of Dask's, too: its address, or "local" for one that is started.
        checkpoint: write to this file where exploring stands, at intervals and at its end.
        resume: go on from where this file says that exploring stood.
        shard: "I/N": explore one of N parts of the case, which `simharness merge` joins.
        reached: record which lines run, and report the scheduling points that were never reached.
        outside, network, programs: what the world outside answers, instead of what the scenario says: `outside="down"`, or for each
            part `network="down"`, `programs="none"`, or a function (see `Outside`); "refused", the default, ends the exploration.
        races: "fail": data races are failures, although nothing asserts anything: two accesses to an attribute or a variable of
            instrumented memory, one of them a write, that nothing orders.
        atomicity: "language": other threads can come between any two accesses to memory. "gil": only where the eval loop of this version of
            CPython can switch threads, as its interpreter lock happens to have it.
        allowed_races: locations where they are on purpose, each with the reason, such as "Counter.n: a rough count is enough".
    """

    max_executions: int | None = None
    max_seconds: float | None = None
    max_steps: int = 20_000
    preemptions: int | None = None
    delays: int | None = None
    proof: str | None = None
    depth: int = 3
    seed: int = 0
    watchdog: float = 10.0
    shrink: int = 400
    confirm: bool = True
    instrument: tuple[str, ...] = ()
    trio_order: str | None = None
    asyncio_order: str | None = None
    isolation: str = "undo"
    workers: int = 1
    cluster: str | None = None
    checkpoint: str | None = None
    resume: str | None = None
    shard: str | None = None
    reached: bool = False
    outside: str | None = None
    network: Any = None
    programs: Any = None
    races: str | None = None
    allowed_races: tuple[str, ...] = ()
    atomicity: str = "language"

    def __post_init__(self) -> None:
        for name, between in (("instrument", r"[,\s]+"), ("allowed_races", ";")):
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, tuple(filter(None, re.split(between, text))))
        for name, (fits, need) in _NEEDS.items():
            value = getattr(self, name)
            if not fits(value):
                raise Misuse(f"{name}={shortened(repr(value))}: it must be {need}")
        if self.trio_order is not None:
            check_order(self.trio_order)
        if self.asyncio_order is not None:
            check_order(self.asyncio_order, "asyncio")
        if self.isolation not in ISOLATIONS:
            raise Misuse(f"isolation={shortened(repr(self.isolation))}: it must be one of {', '.join(ISOLATIONS)}")
        self._check_memory()
        if self.proof is not None:
            Proof.of(self.proof)
        Outside.of(self.outside, self.network, self.programs)
        if self.shard is not None:
            Shard.read(self.shard)
        if self.workers < 1:
            raise Misuse(f"workers={self.workers}: it must be at least 1")
        for name in self.instrument:
            if not all(part.isidentifier() for part in name.split(".")):
                raise Misuse(f"instrument={name!r}: this is no name of a module; write it as in `import package.module`")

    def _check_memory(self) -> None:
        if self.atomicity not in ATOMICITIES:
            raise Misuse(f"atomicity={shortened(repr(self.atomicity))}: it must be one of {', '.join(ATOMICITIES)}")
        if self.atomicity == "gil" and self.races is not None:
            raise Misuse("races='fail' asks what the language orders, whatever the interpreter lock does: leave atomicity='gil' out")
        if self.races not in (None, "fail"):
            raise Misuse(f"races={shortened(repr(self.races))}: it is 'fail', or left out")
        for entry in self.allowed_races:
            if not re.fullmatch(r"[^:]*\w[^:]*:.*\w.*", entry):
                example = "'Counter.n: a rough count is enough'"
                raise Misuse(f"allowed_races={shortened(repr(entry))}: write the location and the reason, such as {example}")


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be compared with others."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124  # not of NaN


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)


_NEEDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("max_executions", "preemptions", "delays"), (_or_none(_is_whole), "a whole number or None")),
    **dict.fromkeys(("max_steps", "depth", "seed", "shrink", "workers"), (_is_whole, "a whole number")),
    **dict.fromkeys(("cluster", "checkpoint", "resume"), (_or_none(lambda value: isinstance(value, str) and bool(value)), "a text")),
    "max_seconds": (_or_none(is_number), "a number of seconds or None"),
    "watchdog": (is_number, "a number of seconds"),
    "instrument": (_are_texts, "names of modules"),
    "allowed_races": (_are_texts, "texts"),
}
"""What some options must be; tokens, markers and configuration files can give anything."""
