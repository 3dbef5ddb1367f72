"""Parts of an exploration as JSON, and back, with keys and masks of the process that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from simharness.engine.actors import SHIFT
from simharness.exploring.parallel.border import Border, Sleep, flat
from simharness.exploring.parallel.log import Log
from simharness.exploring.parallel.part import Part
from simharness.exploring.parallel.plain import from_json, integers, numbers, to_json
from simharness.search.dpor import Event
from simharness.verdicts.covered import Tally

_COUNTS = ("executions", "deadlocks", "blocked", "redundant", "cut", "sampled", "steps", "concurrent", "touched")
Json = dict[str, Any]


def of_part(part: Part) -> Json:
    """Return a part as it was before it followed what is foreseen, and without a task under way."""
    length, ahead = (len(part.keys), part.ahead) if part.base is None else part.base
    return {
        "path": list(part.path),
        "done": part.done,
        "keys": part.keys[:length],
        "reads": numbers(part.reads[:length]),
        "writes": numbers(part.writes[:length]),
        "sure": min(part.sure, length),
        "sleep": [_of_sleep(sleep) for sleep in part.sleep[:length]],
        "left": [numbers(flat(left)) for left in part.left[:length]],
        "ahead": numbers(flat(ahead)),
        "log": of_log(part.log),
        "outbox": [[i, _of_events(events)] for i, events in part.outbox],
    }


def part_of(data: Json, border: Border) -> Part:
    """Return the part that `of_part` has written."""
    outbox = [(i, _events_of(events, border)) for i, events in data["outbox"]]
    part = Part(
        tuple(border.keys(data["path"])),
        border.keys(data["keys"]),
        border.masks(integers(data["reads"])),
        border.masks(integers(data["writes"])),
        data["sure"],
        [_sleep_of(sleep, border) for sleep in data["sleep"]],
        [border.tree(integers(left)) for left in data["left"]],
        border.tree(integers(data["ahead"])),
        done=data["done"],
        log=log_of(data["log"], border),
        outbox=outbox,
    )
    part.sent = {(i, tuple(events)) for i, events in outbox}
    return part


def _of_sleep(sleep: Sleep) -> list[int | str]:
    return numbers(number for key, footprint in sleep.items() for number in (key, *footprint))


def _sleep_of(written: Sequence[int | str], border: Border) -> Sleep:
    return border.sleep({key: (reads, writes) for key, reads, writes in _events(written)})


def _of_events(events: Iterable[Event]) -> list[int | str]:
    return numbers(number for event in events for number in event)


def _events_of(written: Sequence[int | str], border: Border) -> list[Event]:
    return border.events(_events(written))


def _events(written: Sequence[int | str]) -> list[Event]:
    flat = integers(written)
    return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))


def of_tally(tally: Tally) -> Json:
    """Return counts, without a failure."""
    return {
        **{name: getattr(tally, name) for name in _COUNTS},
        "outcomes": to_json(tally.outcomes),
        "moved": sorted(tally.moved),
        "stuck": list(map(list, tally.stuck.items())),
    }


def tally_of(data: Json, border: Border) -> Tally:
    """Return the counts that `of_tally` has written."""
    tally = Tally()
    for name in _COUNTS:
        setattr(tally, name, data[name])
    tally.outcomes = from_json(data["outcomes"])
    tally.moved = set(border.keys(data["moved"]))
    tally.stuck = {name: border.key(index << SHIFT) >> SHIFT for name, index in data["stuck"]}
    return tally


def of_log(log: Log) -> Json | None:
    """Return what executions have come to; None for no executions."""
    if not log.runs:
        return None
    return {
        "tally": of_tally(log.tally),
        "first": log.first,
        "closes": [[depth, movers.hex()] for depth, movers in log.closes],
        "longest": list(map(list, log.longest)),
        "keys": log.keys,
        "checked": log.checked,
        "checks": log.checks,
        "timeouts": list(log.timeouts),
        "kept": to_json(log.kept),
    }


def log_of(data: Json | None, border: Border) -> Log:
    """Return the log that `of_log` has written."""
    if data is None:
        return Log()
    return Log(
        tally_of(data["tally"], border),
        data["first"],
        [(depth, bytes.fromhex(movers)) for depth, movers in data["closes"]],
        [(number, steps) for number, steps in data["longest"]],
        border.keys(data["keys"]),
        data["checked"],
        data["checks"],
        (data["timeouts"][0], data["timeouts"][1]),
        from_json(data["kept"]),
    )


def nested(parts: Iterable[Part], main: Part) -> list[Part]:
    """Put parts below those to which their branches belong, the main one above all; return those that there is a branch for.

    A part lies below the one with the longest path that begins its own. Its branch is marked as taken.
    """
    found = {main.path: main}
    for part in sorted(parts, key=lambda part: (len(part.path), part.path)):
        holder = next(found[path] for path in (part.path[:length] for length in range(len(part.path) - 1, -1, -1)) if path in found)
        if not holder.done and _take_branch(holder, part.path):
            holder.children[part.path] = found[part.path] = part
    return list(found.values())


def _take_branch(holder: Part, path: Sequence[int]) -> bool:
    """Mark the branch of a part at the end of this path as taken; return whether there is one."""
    depth = next((d for d, (one, other) in enumerate(zip(path, holder.keys, strict=False)) if one != other), len(holder.keys))
    if depth >= len(path):
        return len(path) == len(holder.keys) and not holder.ahead
    branches = holder.left[depth] if depth < len(holder.keys) else holder.ahead
    node = None
    for key in path[depth:]:
        node = next((branch for branch in branches if branch.key == key), None)
        if node is None:
            return False
        branches = node.branches
    if node is None or branches:
        return False
    node.taken = True
    return True
