"""What actors that are stuck wait for, in words: in a deadlock, or in a livelock, where an actor looks again and again."""

from __future__ import annotations

from collections.abc import Collection

from simharness.engine.looks import AWAIT
from simharness.timeline.words import one_line
from simharness.trace.data import Trace, Waiting


def said(trace: Trace, columns: Collection[str]) -> str:
    """Return the failure of an execution; the places where actors are stuck stand below their columns."""
    failure = trace.failure or ""
    if trace.waiting and failure.startswith("deadlock"):
        targets = [f"for {stuck.holder}" if stuck.holder in columns else f"({_wanted(stuck)})" for stuck in trace.waiting]
        waiting = [f"{stuck.actor} waits {target}" for stuck, target in zip(trace.waiting, targets, strict=True)]
        return f"deadlock: {', '.join(waiting)}; no actor can move"
    if trace.waiting and failure.startswith("livelock"):
        return f"livelock: {'; '.join(map(_looks, trace.waiting))}; no actor can write that any more"
    return failure


def waits(stuck: Waiting) -> list[str]:
    """Return the lines below the column of an actor that is stuck."""
    held = [f"  held by {stuck.holder}"] if stuck.holder else []
    return [f"waits: {_wanted(stuck)}", *held]


def _wanted(stuck: Waiting) -> str:
    return stuck.kind.wanted(one_line(stuck.detail))


def _looks(stuck: Waiting) -> str:
    """Say what an actor does in a livelock."""
    if stuck.kind == AWAIT:
        return f"{stuck.actor} looks at {one_line(stuck.detail)} again and again"
    return f"{stuck.actor} waits {f'for {stuck.holder}' if stuck.holder else f'({_wanted(stuck)})'}"
