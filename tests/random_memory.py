"""Random small programs over plain objects, as Python source: attributes, containers, variables, objects made and handed over.

Each actor is a list of statements; what it sees it appends to a list of its own. An outcome is what every actor saw and what is left.
`Everything` makes every location a scheduling point: exploring all interleavings of that is the oracle, which rests neither on
what the engine learns nor on its footprints.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from simharness import Settings, explore
from simharness.engine.facts import Fact, Learned
from simharness.instrument.loader import compiled
from simharness.runtimes.memory.facts import Addresses, OneLocation, SharedLocation

STATEMENTS = (
    "box.x = {n}",
    "box.x += 1",
    "saw(box.x)",
    "saw(box.y)",
    "box.y = box.x",
    "box.x, box.y = box.y, {n}",
    "del box.x",
    "saw(hasattr(box, 'x'))",
    "saw(getattr(box, 'y', None))",
    "setattr(box, 'y', {n})",
    "other.x += 1",
    "saw(other.x)",
    "slots.a += 1",
    "saw(slots.a)",
    "table[{k}] = {n}",
    "table[{k}] += 1",
    "saw(table.get({k}))",
    "saw({k} in table)",
    "saw(len(table))",
    "saw(list(table))",
    "saw([value for value in table.values()])",
    "table.pop({k}, None)",
    "del table[{k}]",
    "saw(table.setdefault({k}, {n}))",
    "table.update(p={n})",
    "saw(sorted(table.items(), key=str))",
    "groups[{k}].append({n})",
    "saw(len(groups[{k}]))",
    "items.append({n})",
    "items[0] = {n}",
    "items[1] += 1",
    "items[-1] = {n}",
    "saw(items[0])",
    "saw(items[-1])",
    "saw(items[1:])",
    "saw(len(items))",
    "saw(sum(items))",
    "saw({n} in items)",
    "saw(items == [0, 1])",
    "items += [{n}]",
    "items.pop()",
    "items.insert(0, {n})",
    "saw(items + [7])",
    "for item in items: saw(item)",
    "saw(list(enumerate(items)))",
    "first, *rest = items; saw(rest)",
    "if items: saw('some')",
    "many.add({n})",
    "many.discard({n})",
    "saw({n} in many)",
    "saw(len(many))",
    "saw(many | set((9,)))",
    "queue.append({n})",
    "saw(queue.popleft() if queue else None)",
    "box.nested[0].x += 1",
    "saw(box.nested[0].x)",
    "fresh = Box(); fresh.x = {n}; box.link = fresh",
    "saw(box.link.x if box.link else None)",
    "mine = Box(); mine.x += 1; mine.y = mine.x; saw(mine.y)",
    "local = [{n}]; local.append(1); saw(local)",
    "box.nested.append(Box())",
    "box.nested[-1].x += 1",
    "count += 1",
    "saw(count)",
    "count = {n}",
    "total += 1",
    "saw(total)",
    "Box.shared += 1",
    "saw(Box.shared)",
    "saw(box.shared)",
    "BEFORE['one'].x += 1",
    "saw(BEFORE['one'].x)",
    "ALIAS.x += 1",
    "saw(ALIAS.x)",
    "saw(vars(box).get('x'))",
    "saw(keyed.get(box))",
    "keyed[box] = {n}",
    "keyed[other] = {n}",
    "record.items.append({n})",
    "saw(record.items[:1])",
    "record.size += 1",
    "saw(f'{{items}}')",
    "saw(not table)",
)
HEAD = """
total = 0

class Box:
    shared = 0

    def __init__(self):
        self.x = 0
        self.y = 0
        self.link = None

class Slots:
    __slots__ = ("a",)

@dataclass
class Record:
    items: list = field(default_factory=list)
    size: int = 0

ALIAS = Box()
BEFORE = {"one": ALIAS}

def program(world):
    global total
    total = 0
    Box.shared = 0
    count = 0
    ALIAS.x = 0
    box, other, slots, record = Box(), Box(), Slots(), Record()
    box.nested = [Box()]
    slots.a = 0
    table, groups, items, many, queue, keyed = {"k": 0}, defaultdict(list), [0, 1], set((0,)), deque(), {}
    lock = threading.Lock()
    log = new_log()
"""
ACTOR = """
    def actor{number}():
        nonlocal count
        global total
        saw = watch(log, {number})
"""
TAIL = """
    @world.at_end
    def left():
        rest = [sorted(vars(box).items(), key=str)[:0], getattr(box, "x", None), box.y, other.x, slots.a, list(table.items())]
        rest += [sorted(groups.items(), key=str), list(items), sorted(many), list(queue), len(box.nested), [one.x for one in box.nested]]
        rest += [count, total, Box.shared, ALIAS.x, list(keyed.values()), record.items, record.size]
        world.outcome(repr((told(log), rest)))
"""


class Log:
    """What each actor saw; no memory of the program's."""

    def __init__(self) -> None:
        self.seen: dict[int, list[Any]] = {}

    def watch(self, actor: int) -> Callable[[Any], None]:
        """Return what an actor calls with what it sees."""
        own: list[Any] = self.seen.setdefault(actor, [])
        return lambda value: own.append(repr(value))

    def told(self) -> str:
        """Return what everybody saw."""
        return repr(sorted(self.seen.items()))


def source(rng: random.Random, actors: int, statements: int) -> str:
    """Return the source of a random program."""
    chosen = rng.sample(STATEMENTS, rng.randint(2, 5))
    text = HEAD
    for number in range(actors):
        text += ACTOR.format(number=number)
        text += "        pass\n"
        for _ in range(rng.randint(1, statements)):
            lines = _statement(rng, chosen)
            if rng.random() < 0.15:
                lines = ["with lock:", *(f"    {line}" for line in lines)]
            text += "        try:\n" + "".join(f"            {line}\n" for line in lines)
            text += "        except (LookupError, AttributeError, RuntimeError) as error:\n            saw(type(error).__name__)\n"
        text += f'    world.actor("a{number}", actor{number})\n'
    return text + TAIL


def _statement(rng: random.Random, chosen: list[str]) -> list[str]:
    one = rng.choice(chosen).format(n=rng.randint(0, 2), k=rng.choice(["'k'", "'q'", "1"]))
    return [one] if one.startswith(("for", "if")) else one.split("; ")


def program(text: str) -> Any:
    """Return the scenario of a source, instrumented."""
    space: dict[str, Any] = {"__name__": "random_program", "threading": threading, "defaultdict": defaultdict, "deque": deque}
    space |= {"dataclass": dataclass, "field": field, "new_log": Log, "watch": Log.watch, "told": Log.told}
    exec(compiled(text, "random_program.py"), space)
    return space["program"]


class Everything(dict[Any, Fact]):
    """The facts of a kind, which say of everything that it is so."""

    def __init__(self, kind: type[Fact]) -> None:
        super().__init__()
        self.kind = kind

    def __contains__(self, about: object) -> bool:
        self.setdefault(about, self.kind(*([about] if self.kind.fields else [])))
        return True

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())


def compare(seed: int, monkeypatch: Any, limit: int = 800) -> bool:
    """Explore a program with reduction and hold it against the oracle; return False when that is too large."""
    rng = random.Random(seed)
    text = source(rng, rng.choice([2, 2, 2, 3]), 2)
    settings = Settings(max_executions=limit, shrink=0, max_steps=300)
    target = program(text)
    with monkeypatch.context() as patch:
        genuine = Learned.__init__

        def all_learned(self: Learned) -> None:
            genuine(self)
            self._facts.update({kind: Everything(kind) for kind in (SharedLocation, OneLocation, Addresses)})

        patch.setattr(Learned, "__init__", all_learned)
        every = explore(target, strategy="exhaustive", stop_on_first=False, settings=settings)
    if "stopped at" in every.bounds:
        return False
    reduced = explore(target, "dpor", stop_on_first=False, settings=settings)
    brute = explore(target, strategy="exhaustive", stop_on_first=False, settings=settings)
    about = f"seed {seed}: {reduced.outcomes ^ every.outcomes}\n{text}"
    assert reduced.outcomes == every.outcomes, about
    assert brute.outcomes == every.outcomes, about
    assert reduced.redundant == 0, about
    assert reduced.executions <= brute.executions <= every.executions, about
    return True
