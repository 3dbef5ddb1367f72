"""Is a history of calls linearizable? Each call must seem to take effect at one moment between its call and its return.

The search is that of Wing and Gong (*Testing and verifying concurrent objects*, 1993) with the memory of Lowe (*Testing for
linearizability*, 2017): it takes one call after another that no unplaced call precedes, and turns back where the model gives another
result, or where the same calls have led to the same state before. A history is split by key first, where the model is (Horn and Kroening,
*Faster linearizability checking via P-compositionality*, 2015). The answer is exact; the time is exponential in the number of calls that
overlap at worst.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simharness.errors import Misuse
from simharness.visible import shortened

__all__ = ["Call", "Checked", "Model", "check"]


@dataclass(frozen=True)
class Call:
    """A call in a history.

    Attributes:
        actor: which thread, task or client called; its calls do not overlap.
        operation: the name of what was called.
        arguments: what was passed.
        result: what was returned.
        begun, ended: moments, as numbers; a call precedes those that begin after it has ended. `ended` is None if it has not returned: it
            may have taken effect or not.
    """

    actor: Hashable
    operation: str
    arguments: tuple[Any, ...] = ()
    result: Any = None
    begun: float = 0
    ended: float | None = None


@dataclass(frozen=True)
class Model:
    """What the object does when one call follows another.

    Attributes:
        initial: the first state; states are hashable.
        apply: `apply(state, operation, *arguments)` returns (result, next state), or None if the operation has to wait in this state.
        key: returns a call's key, where calls of different keys have nothing to do with each other; the history is then split.
    """

    initial: Hashable
    apply: Callable[..., tuple[Any, Hashable] | None]
    key: Callable[[Call], Hashable] | None = None


class Checked(NamedTuple):
    """The answer.

    Attributes:
        linearizable: whether there is such an order.
        orders: one for each key (or a single one): the calls in the order in which they took effect; of the key that has none, the longest
            beginning of one.
        key: the key that has no order.
    """

    linearizable: bool
    orders: tuple[tuple[Call, ...], ...]
    key: Hashable = None

    def __bool__(self) -> bool:
        return self.linearizable


def check(history: Sequence[Call], model: Model) -> Checked:
    """Return whether a history is linearizable.

    Args:
        history: its calls, in any order.
        model: what the object does serially.

    Raises:
        Misuse: an actor's calls overlap, a call ends before it begins, or a state is not hashable.

    >>> from simharness.linearizability import Call, Model, check
    >>> def register(value, operation, *arguments):
    ...     return (None, arguments[0]) if operation == "write" else (value, value)
    >>> wrote = Call("a", "write", (1,), begun=0, ended=1)
    >>> stale = Call("b", "read", result=0, begun=2, ended=3)
    >>> bool(check([wrote, stale], Model(0, register)))
    False
    """
    _refuse_impossible(history)
    parts: dict[Hashable, list[Call]] = {}
    for call in history:
        parts.setdefault(None if model.key is None else model.key(call), []).append(call)
    orders = []
    for key, calls in parts.items():
        order, found = _search(sorted(calls, key=lambda call: call.begun), model)
        if not found:
            return Checked(False, (order,), key)
        orders.append(order)
    return Checked(True, tuple(orders))


def _refuse_impossible(history: Sequence[Call]) -> None:
    last: dict[Hashable, Call] = {}
    for call in sorted(history, key=lambda call: (call.begun, _end(call))):
        if call.ended is not None and call.ended < call.begun:
            raise Misuse(f"{_named(call)} ends at {call.ended}, before it begins at {call.begun}: give the moments in this order")
        before = last.get(call.actor)
        if before is not None and (before.ended is None or before.ended > call.begun):
            raise Misuse(
                f"{_named(call)} of actor {call.actor!r} begins before its {_named(before)} has ended: give each thread its own name"
            )
        last[call.actor] = call


def _search(calls: Sequence[Call], model: Model) -> tuple[tuple[Call, ...], bool]:
    """Return an order of the calls, or the longest beginning of one; and whether it is whole."""
    required = sum(1 << index for index, call in enumerate(calls) if call.ended is not None)
    try:
        seen = {(0, model.initial)}
        path: list[int] = []
        longest: tuple[int, ...] = ()
        stack = [_next(calls, model, 0, model.initial)]
        placed = [0]
        if not required:
            return (), True
        while stack:
            index, state = next(stack[-1], (-1, None))
            if index < 0:
                stack.pop()
                placed.pop()
                if path:
                    path.pop()
                continue
            mask = placed[-1] | 1 << index
            if (mask, state) in seen:
                continue
            seen.add((mask, state))
            path.append(index)
            if len(path) > len(longest):
                longest = tuple(path)
            if mask & required == required:
                return tuple(calls[each] for each in path), True
            placed.append(mask)
            stack.append(_next(calls, model, mask, state))
    except TypeError as error:
        if "unhashable" in str(error):
            raise Misuse(f"the model's states must be hashable, as a tuple or a frozenset is ({error})") from None
        raise
    return tuple(calls[each] for each in longest), False


def _next(calls: Sequence[Call], model: Model, mask: int, state: Hashable) -> Iterator[tuple[int, Hashable]]:
    """Yield the calls that can take effect next, and the state after each."""
    first = min((call.ended for index, call in enumerate(calls) if not mask >> index & 1 and call.ended is not None), default=None)
    for index, call in enumerate(calls):
        if first is not None and call.begun > first:
            break
        if mask >> index & 1:
            continue
        done = model.apply(state, call.operation, *call.arguments)
        if done is not None and (call.ended is None or done[0] == call.result):
            yield index, done[1]


def _end(call: Call) -> float:
    return float("inf") if call.ended is None else call.ended


def _named(call: Call) -> str:
    return shortened(f"{call.operation}({', '.join(map(repr, call.arguments))})")
