"""Numbers of a library's objects in an execution: hashes that do not depend on addresses, so that sets keep their order."""

from __future__ import annotations

from simharness.engine.kernel import current

NUMBERS = "task numbers"


def number(thing: object) -> int:
    """Return the hash of a library's object: in a simulation its number."""
    kernel = current()
    if kernel is None:
        return object.__hash__(thing)
    numbers: dict[int, tuple[int, object]] = kernel.context.setdefault(NUMBERS, {})
    numbered = numbers.get(id(thing))
    if numbered is None:
        numbered = numbers[id(thing)] = len(numbers), thing
    return numbered[0]
