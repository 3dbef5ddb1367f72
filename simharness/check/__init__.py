"""Checks of a class that need no scenario: programs of its operations, under every ordering, against their serial orders.

    @simharness.check.target(threads=2, calls=2)
    class Cache:
        def __init__(self): self.cache = LRUCache(maxsize=2)
        @simharness.check.operation(key=st.sampled_from("ab"), value=st.integers(0, 2))
        def put(self, key, value): self.cache[key] = value
        @simharness.check.operation(key=st.sampled_from("ab"))
        def get(self, key): return self.cache.get(key)
        def state(self): return dict(self.cache)

`pytest` collects such a class; `simharness check MODULE:CLASS` needs no such class. See docs/check.md.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; a decorated class should cost an import next to nothing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from simharness.check.results import Checked
    from simharness.settings import Settings

    C = TypeVar("C", bound=type[Any])
    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["operation", "run", "target"]


def target(*, threads: int = 0, calls: int = 2, **options: Any) -> Callable[[C], C]:
    """Mark a class whose operations are to be checked; `pytest` collects it.

    A method `state` returns what is compared at the end (default: the object's attributes); a method `invariant` asserts what holds when
    nobody calls; an attribute `model` makes an object that does serially what this one should do.

    Args:
        threads: how many actors call at most; 0: two, and three that call once each.
        calls: how often each of them calls at most.
        options: `spec` (see docs/check.md), `faults`, `instrument` (names of modules), `process` (each actor has a process, and an object,
            of its own), `strategy`, `workers`, `preemptions`, `max_executions` (of each program), `max_seconds` (of all).

    Raises:
        Misuse: an option is wrong.
    """

    def mark(cls: C) -> C:
        from simharness.check.declared import declare

        declare(cls, threads, calls, options)
        return cls

    return mark


def operation(function: F | None = None, **values: Any) -> Any:
    """Mark a method of such a class as an operation; if some are marked, the others are none.

    Args:
        values: for a parameter a Hypothesis strategy, or a list of values; default: from its type hint.
    """

    def mark(marked: F) -> F:
        marked._simharness_operation = values  # type: ignore[attr-defined]  # the mark
        return marked

    return mark if function is None else mark(function)


def run(checked: type[Any] | str, operations: Sequence[str] = (), settings: Settings | None = None, **options: Any) -> Checked:
    """Check a class, and return what was found.

    Args:
        checked: the class, or its address, `"MODULE:CLASS"` or `"MODULE:CLASS(ARGUMENTS)"`.
        operations: calls, such as `"put('k', 1)"`; default: of all public methods, with a few arguments.
        settings: the limits of each program.
        options: as for `target`, and `threads`, `calls`, `state` (an expression of `self`, or a function).

    Raises:
        Misuse: the class cannot be checked as it is. Nondeterminism: equal choices gave different runs.

    >>> import simharness.check
    >>> found = simharness.check.run("queue:Queue", ("put(1)", "get_nowait()"), threads=2, calls=1)
    >>> str(found.verdict), found.cell("put", "get_nowait").mark
    ('verified', '✓')
    """
    from simharness.check.checking import Checker
    from simharness.check.declared import how_of, target_of

    made = target_of(checked, operations, options)
    return Checker(made, how_of(made, settings)).run()
