"""Facts: what executions show about a scenario that changes which steps it has, or which of them conflict.

A fact is a frozen value of a declared kind, such as `Unprotected("connection 1")`; the engine does not know a runtime's kinds, which are
declared beside the code that learns them. Everything counts as private until an execution shows otherwise. What was explored before a
fact was learned rests on outdated footprints, so exploring starts over: `until_settled` is the one loop that does this. An exploration
never drops a fact. Facts that decide what is a scheduling point are part of tokens (`simharness.search.stated`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

F = TypeVar("F", bound="Fact")
T = TypeVar("T")


@dataclass(frozen=True)
class Fact:
    """Base of facts: a kind of fact is a frozen dataclass that inherits from this one and gives its word; its fields, if any, are texts.

    Attributes:
        word: names the kind in tokens, which outlive this version, so its meaning never changes. Lower case, with hyphens.
        in_tokens: whether a replay must know the fact beforehand; not if each execution shows it before it matters.
        fields: names of the fields.
        known: every kind, by its word.
    """

    word: ClassVar[str]
    in_tokens: ClassVar[bool]
    fields: ClassVar[tuple[str, ...]]
    known: ClassVar[dict[str, type[Fact]]] = {}

    def __init_subclass__(cls, word: str, in_tokens: bool = True) -> None:
        super().__init_subclass__()
        cls.word, cls.in_tokens = word, in_tokens
        cls.fields = tuple(name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind))
        if cls.fields:
            cls.about = property(attrgetter(*cls.fields))  # type: ignore[method-assign,assignment]  # in C: asked for often
        holder = Fact.known.setdefault(word, cls)
        if (holder.__module__, holder.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.__qualname__} and {holder.__qualname__} are both called {word!r} in tokens")
        Fact.known[word] = cls

    @property
    def about(self) -> Any:
        """What the fact is about: its field; where there are several, a tuple of them."""
        return ()


@dataclass(frozen=True)
class Daemons(Fact, word="daemons", in_tokens=False):
    """There are daemon actors, so how an execution ends depends on which actor ends last."""


class Learned:
    """The known facts about one case of a scenario, and what else lasts from one execution to the next.

    Attributes:
        daemons: whether `Daemons` is known: an attribute, as every step needs it.
        checked: the mask of the resources that `always` checks read. Like a new fact, a new bit makes exploring start over; it is a mask as
            every step needs it. Bits differ between processes, so it is in no token.
        late: whether the footprints of some steps are complete only when the steps are over, so that a step's footprint at another point
            is not known. The runtime with such steps decides it from its facts.
        runtimes: names of runtimes that verdicts mention if they were used.
        unseen: names of modules that several actors use and whose memory is not seen: verdicts name them.
        version: changes with everything that makes exploring start over; compare moments with `mark`.
    """

    def __init__(self) -> None:
        self.daemons = False
        self.checked = 0
        self.late = self._grow = False
        self.runtimes: set[str] = set()
        self.unseen: set[str] = set()
        self.version = 0
        self._facts: defaultdict[type[Fact], dict[Any, Fact]] = defaultdict(dict)

    def learn(self, fact: Fact) -> None:
        """Add a fact that an execution has shown; if it is new, exploring starts over."""
        known, about = self._facts[type(fact)], fact.about
        if about not in known:
            known[about] = fact
            self.daemons = self.daemons or type(fact) is Daemons
            self.version += 1

    def __contains__(self, fact: Fact) -> bool:
        return fact.about in self._facts[type(fact)]

    def of(self, kind: type[F]) -> Mapping[Any, F]:
        """Return the known facts of a kind by what they are `about`. The mapping is live, so callers may keep it."""
        return self._facts[kind]  # type: ignore[return-value]  # each kind's own

    def for_tokens(self) -> frozenset[Fact]:
        """Return the known facts that decide what is a scheduling point."""
        return frozenset(fact for kind, known in self._facts.items() if kind.in_tokens for fact in known.values())

    def all(self) -> list[Fact]:
        """Return the known facts."""
        return [fact for known in self._facts.values() for fact in known.values()]

    def know(self, facts: Iterable[Fact]) -> None:
        """Add facts that are known before anything is run."""
        for fact in facts:
            self.learn(fact)

    def check_reads(self, mask: int) -> None:
        """Note that an `always` check reads the resources in `mask`."""
        if mask & ~self.checked:
            self.checked |= mask
            self.version += 1

    def start_over(self) -> None:
        """Make exploring start over without a new fact: what is known of the executions so far no longer holds."""
        self.version += 1

    def footprints_are_late(self, late: bool) -> None:
        """Say whether the footprints of some steps are complete only when the steps are over."""
        self.late = late or self._grow

    def steps_grow(self) -> None:
        """Steps of threads grow, too: whatever runtimes say, footprints are late."""
        self.late = self._grow = True

    def uses(self, runtime: str) -> None:
        """Note that a runtime is used that verdicts mention."""
        self.runtimes.add(runtime)

    def leaves_out(self, module: str) -> None:
        """Note that several actors use a module whose memory is not seen."""
        self.unseen.add(module)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A block in which nothing is learned: what only a timeline reads must not change what is a scheduling point."""
        before, version = {kind: set(known) for kind, known in self._facts.items()}, self.version
        try:
            yield
        finally:
            if self.version != version:
                self.version = version
                for kind, known in self._facts.items():
                    for about in known.keys() - before.get(kind, set()):
                        del known[about]
                self.daemons = Daemons() in self

    def mark(self) -> Mark:
        """Return a mark of this moment, which says whether anything was learned since."""
        return Mark(self)


class Mark:
    """A moment in the history of what is learned."""

    __slots__ = ("_learned", "_version")

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        self._version = learned.version

    @property
    def holds(self) -> bool:
        """Whether nothing was learned since."""
        return self._learned.version == self._version

    def renew(self) -> None:
        """Move the mark to now: what was learned since is accounted for, or no longer matters."""
        self._version = self._learned.version


def until_settled(learned: Learned, run: Callable[[Mark], T]) -> T:
    """Call `run` until a call teaches nothing new; return the result of that call.

    `run` gets the mark of its beginning: it may stop as soon as that no longer holds, since it is called again.
    """
    while True:
        mark = learned.mark()
        result = run(mark)
        if mark.holds:
            return result
