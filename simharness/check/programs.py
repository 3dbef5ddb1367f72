"""Programs: which calls each actor makes. Small ones come first, and of those that differ only in the names of actors, one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from simharness.errors import TokenError
from simharness.visible import shortened

BESIDE, THEN, FIRST = " | ", "; ", " >> "

Shape = tuple[int, ...]
"""How many calls each actor makes."""


class Program(NamedTuple):
    """A program, by the texts of its calls.

    Attributes:
        actors: for each actor, its calls in order.
        prefix: calls made before any actor moves.
    """

    actors: tuple[tuple[str, ...], ...]
    prefix: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (THEN.join(self.prefix) + FIRST if self.prefix else "") + BESIDE.join(THEN.join(calls) for calls in self.actors)

    @property
    def size(self) -> tuple[int, int]:
        """How many calls it has, and how many actors; smaller programs are easier to read."""
        return sum(map(len, self.actors)) + len(self.prefix), len(self.actors)

    @property
    def shape(self) -> Shape:
        """How many calls each actor makes."""
        return tuple(map(len, self.actors))

    def smaller(self) -> Iterator[Program]:
        """Yield the programs with one call less."""
        for index in range(len(self.prefix)):
            yield self._replace(prefix=self.prefix[:index] + self.prefix[index + 1 :])
        for at, calls in enumerate(self.actors):
            for index in range(len(calls)):
                rest = calls[:index] + calls[index + 1 :]
                actors = (*self.actors[:at], *([rest] if rest else []), *self.actors[at + 1 :])
                if len(actors) > 1:
                    yield self._replace(actors=actors)

    def with_call(self, old: str, new: str) -> Program:
        """Return the program with another call in the place of one, wherever that is made."""
        change = {old: new}
        actors = tuple(tuple(change.get(call, call) for call in calls) for calls in self.actors)
        return Program(actors, tuple(change.get(call, call) for call in self.prefix))

    def pairs(self, operation: Callable[[str], str]) -> set[tuple[str, str]]:
        """Return the operations that it makes beside one another."""
        found = set()
        for first, second in itertools.combinations(self.actors, 2):
            found |= {pair(operation(one), operation(other)) for one in first for other in second}
        return found


def pair(one: str, other: str) -> tuple[str, str]:
    """Return a pair in which the order does not count."""
    return (one, other) if one <= other else (other, one)


def shapes(threads: int, length: int) -> list[Shape]:
    """Return the shapes of programs of up to so many actors with so many calls each, smallest first.

    >>> shapes(2, 2)
    [(1, 1), (1, 2), (2, 2)]
    >>> shapes(3, 1)
    [(1, 1), (1, 1, 1)]
    """
    found = [shape for actors in range(2, threads + 1) for shape in itertools.combinations_with_replacement(range(1, length + 1), actors)]
    return sorted(found, key=lambda shape: (sum(shape), len(shape), shape))


def of_shape(shape: Shape, calls: Sequence[str]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield the calls of actors, once where only the names of the actors differ."""
    groups = [(length, len(list(same))) for length, same in itertools.groupby(shape)]
    choices = [itertools.combinations_with_replacement(list(itertools.product(calls, repeat=length)), number) for length, number in groups]
    for chosen in itertools.product(*choices):
        yield tuple(itertools.chain.from_iterable(chosen))


def count(shape: Shape, calls: int) -> int:
    """Return how many there are of a shape.

    >>> count((1, 1), 3), count((1, 2), 3)
    (6, 27)
    """
    total = 1
    for length, same in itertools.groupby(shape):
        number, kinds = len(list(same)), calls**length
        for index in range(number):
            total = total * (kinds + index) // (index + 1)
    return total


def parse(text: str, known: Sequence[str]) -> Program:
    """Return the program of a text, such as a token's.

    Args:
        known: texts of calls, which may contain what separates calls.

    Raises:
        TokenError: it is not a program.
    """
    prefix: tuple[str, ...] = ()
    actors: list[list[str]] = [[]]
    rest, longest_first = text, sorted(known, key=len, reverse=True)
    while True:
        call = next((each for each in longest_first if rest.startswith(each)), None) or _until_separator(rest)
        if not call:
            raise TokenError(f"{shortened(text)!r} is not a program of calls; it should look like put('k', 1); get('k') | get('k')")
        actors[-1].append(call)
        rest = rest[len(call) :]
        if not rest:
            return Program(tuple(map(tuple, actors)), prefix)
        separator = next((each for each in (BESIDE, THEN, FIRST) if rest.startswith(each)), None)
        if separator is None or (separator == FIRST and (prefix or len(actors) > 1)):
            raise TokenError(f"{shortened(text)!r} is not a program of calls of this class: has it changed?")
        rest = rest[len(separator) :]
        if separator == BESIDE:
            actors.append([])
        elif separator == FIRST:
            prefix, actors = tuple(actors[0]), [[]]


def _until_separator(text: str) -> str:
    ends = [at for at in (text.find(each) for each in (BESIDE, THEN, FIRST)) if at >= 0]
    return text[: min(ends)] if ends else text
