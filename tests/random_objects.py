"""Random tiny programs over nested, shared and aliased objects and the standard library's containers, as Python source.

Each actor is a list of statements; what it sees it appends, as text, to a list of its own. An outcome is what each actor saw and what is
left. The same source runs on real threads (`opcode_oracle.py`) and explored.

A new kind of object is one line of `STATEMENTS` (and one of `HEAD` or `SET_UP`).
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from typing import Any

STATEMENTS = {
    "attributes": (
        "box.x = {n}",
        "box.x += 1",
        "saw(box.x)",
        "box.x, box.y = box.y, box.x",
        "del box.x",
        "saw(hasattr(box, 'x'))",
        "setattr(box, 'y', {n})",
        "saw(getattr(box, 'y', None))",
        "twin.x += 1",
        "saw(twin.x)",
        "box.x = twin.y",
        "box.new = {n}",
        "saw(getattr(box, 'new', None))",
        "saw(vars(box).get('x'))",
        "saw(repr(copy.copy(box)))",
        "node.a += 1",
        "saw(node.a)",
        "node.a, box.x = box.x, node.a",
    ),
    "classes": (
        "Box.shared += 1",
        "saw(Box.shared)",
        "saw(box.shared)",
        "box.shared = {n}",
        "saw(twin.shared)",
        "twin.shared += 1",
    ),
    "variables": ("count += 1", "saw(count)", "count = {n}", "total += 1", "saw(total)", "total, count = count, total"),
    "lists": (
        "items.append({n})",
        "items[0] = {n}",
        "items[-1] += 1",
        "saw(items[0])",
        "saw(items[1:] + [7])",
        "saw(len(items))",
        "saw(sum(items))",
        "saw({n} in items)",
        "saw(items == more)",
        "items += [{n}]",
        "items.pop()",
        "items.insert(0, {n})",
        "items.remove({n})",
        "items[0], items[1] = items[1], items[0]",
        "items[:1] = more",
        "more.extend(items)",
        "more.append({n})",
        "saw(more)",
        "for item in items: saw(item)",
        "saw(list(enumerate(items)))",
        "first, *rest = items; saw(rest)",
        "saw('some' if items else 'none')",
        "items.sort()",
        "items.reverse()",
        "items.clear()",
        "saw(items.index({n}))",
        "saw([item + 1 for item in items])",
    ),
    "dicts": (
        "table[{k}] = {n}",
        "table[{k}] += 1",
        "saw(table.get({k}))",
        "saw({k} in table)",
        "saw(len(table))",
        "saw(list(table))",
        "saw([value for value in table.values()])",
        "saw(table.pop({k}, None))",
        "del table[{k}]",
        "saw(table.setdefault({k}, {n}))",
        "table.update(p={n})",
        "table |= {{{k}: {n}}}",
        "saw(sorted(table))",
        "saw(table == {{'k': 0}})",
        "table['k'], table['q'] = table.get('q'), table['k']",
        "for key in table: saw(key)",
        "saw(dict(table))",
        "saw([*table.items()])",
    ),
    "sets": (
        "many.add({n})",
        "many.discard({n})",
        "saw({n} in many)",
        "saw(len(many))",
        "saw(sorted(many | set((9,))))",
        "many |= {{8, {n}}}",
        "saw(many == {{0}})",
        "saw(many.isdisjoint(items))",
        "many.update(items)",
    ),
    "deques": (
        "queue.append({n})",
        "queue.appendleft({n})",
        "saw(queue.popleft())",
        "saw(queue.pop())",
        "queue.rotate(1)",
        "saw(list(queue))",
        "queue.extend(items)",
        "saw(len(queue))",
        "saw({n} in queue)",
    ),
    "defaultdicts": (
        "groups[{k}].append({n})",
        "saw(len(groups[{k}]))",
        "saw(groups.get({k}))",
        "groups[{k}] = items",
        "saw(sorted(groups))",
        "saw(groups)",
    ),
    "ordered dicts": (
        "order[{k}] = {n}",
        "order.move_to_end({k})",
        "saw(order.popitem(last=False))",
        "saw(list(order))",
        "saw(list(order.values()))",
        "saw(order == {{'k': 0}})",
    ),
    "nested": (
        "outer[{k}] = {c}",
        "outer.get({k}, more).append({n})",
        "saw(outer)",
        "saw(json.dumps(outer))",
        "saw(len(outer.get({k}, ())))",
        "outer[{k}] = inner = []; inner.append({n})",
        "outer['q'] = copy.copy(items)",
        "saw(items in outer.values())",
        "saw(copy.deepcopy(outer))",
        "saw(outer == {{'k': [0, 1]}})",
        "saw((items, more) < (more, items))",
        "saw(f'{{outer}}')",
        "saw(sorted(outer.values()))",
        "saw(max(outer.values(), default=None))",
        "box.link = {c}",
        "box.link.append({n})",
        "saw(box.link)",
        "saw(box.link is items)",
        "record.items.append({n})",
        "saw(record)",
        "record.items = items",
        "saw(record == Record([0]))",
        "saw(copy.deepcopy(box).link)",
        "box.link, record.items = record.items, box.link",
        "pair[0].append({n})",
        "saw(pair)",
        "saw(pair == ([0, 1], [5]))",
        "nodes.append(Node({n}))",
        "nodes[0].a += 1",
        "saw(nodes[-1].a)",
        "saw([one.a for one in nodes])",
        "nodes[0], nodes[-1] = nodes[-1], nodes[0]",
    ),
    "iterators": (
        "saw(next(steps, None))",
        "saw(next(steps, None))",
        "for item in steps: saw(item)",
        "saw(list(steps))",
        "saw(next(tickets))",
        "saw(next(numbered, None))",
        "saw(list(zip(steps, 'ab')))",
        "saw({n} in steps)",
        "saw(next(pairs, None))",
        "items.append({n})",
        "items[0] = {n}",
        "saw(next(produced, None))",
        "box.x = {n}",
        "first, *rest = steps; saw(rest)",
        "saw(sum(steps))",
        "saw(next(chained, None))",
    ),
    "objects of the library": (
        "buffer.write('{n}')",
        "saw(buffer.getvalue())",
        "saw(dice.random() == random.Random(5).random())",
        "dice.seed({n})",
        "cells[0] += {n}",
        "saw(cells[0])",
        "cells.append({n})",
        "saw(len(cells))",
        "raw[0] = {n}",
        "window[0] += 1",
        "saw(raw[0])",
        "saw(window[0])",
        "saw(bytes(raw))",
        "user[{k}] = {n}",
        "saw(user.get({k}))",
        "user.data[{k}] = {n}",
        "saw(user.data)",
        "saw(len(user))",
        "for key in user: saw(key)",
        "saw({k} in user)",
        "chain[{k}] = {n}",
        "saw(chain.get({k}))",
        "saw(dict(chain))",
        "table[{k}] = {n}",
        "saw(table.get({k}))",
        "weak[node] = {n}",
        "saw(weak.get(node))",
        "saw(len(weak))",
        "saw(cached({n}))",
        "cached.cache_clear()",
        "saw(cached.cache_info().currsize)",
        "digest.update(b'{n}')",
        "saw(digest.hexdigest()[:4])",
        "writer.writerow([{n}])",
    ),
    "handed over": (
        "push({n})",
        "later()",
        "saw(items)",
        "items.append({n})",
        "saw(list(map(items.append, (1, 2))))",
        "saw(apply(items.pop))",
        "saw(apply(table.get, {k}))",
        "table[{k}] = {n}",
        "apply(setattr, box, 'x', {n})",
        "saw(box.x)",
        "saw(apply(len, items))",
        "saw(apply(next, steps, None))",
        "saw(next(steps, None))",
    ),
    "replaced": (
        "box.__dict__ = {{'x': {n}, 'y': 5, 'link': []}}",
        "saw(box.x)",
        "box.x += 1",
        "box.__dict__['x'] = {n}",
        "vars(box).update(x={n})",
        "box.__class__ = Other",
        "saw(box.who())",
        "saw(type(box).__name__)",
        "saw(box.__class__.__name__)",
        "globals()['total'] = {n}",
        "saw(globals()['total'])",
        "saw(total)",
        "total += 1",
        "saw(Color.RED.weight)",
        "Color.RED.weight = {n}",
        "Color.RED.weight += 1",
        "saw(vars(box).get('x'))",
    ),
    "half-way": (
        "saw(sorted(items, key=lambda item: item * box.x))",
        "items.sort(key=lambda item: -item + box.x)",
        "saw(max(items, key=lambda item: -item * box.x))",
        "saw(min(items, key=look.get))",
        "look[1] = -{n}",
        "saw(reduce(lambda before, item: before + item + box.x, items, 0))",
        "table.update((key, box.x) for key in 'kq')",
        "saw(sum(item + box.x for item in items))",
        "saw([item + box.x for item in items])",
        "items.extend(box.x + item for item in (1, 2))",
        "items += (box.x for item in (1, 2))",
        "items[:] = (box.x + item for item in items)",
        "saw(any(item == box.x for item in items))",
        "saw(Weight({n}) in weights)",
        "saw(weights.index(Weight({n})))",
        "weights.remove(Weight({n}))",
        "weights.append(Weight(box.x))",
        "weights[0].heavy += 1",
        "weights.sort()",
        "saw(weights)",
        "saw(sorted(weights))",
        "saw(weights == [Weight(0), Weight(1)])",
        "saw(max(weights).heavy)",
        "keyed[Weight({n})] = {n}",
        "saw(keyed.get(Weight({n})))",
        "saw(len(keyed))",
        "saw(sorted(parts, key=lambda part: part.items))",
        "parts[0].items.append({n})",
        "saw(list(map(lambda item: item + box.x, items)))",
        "saw(', '.join(str(item + box.x) for item in items))",
        "box.x = {n}",
    ),
}
HEAD = """
import array, copy, csv, hashlib, io, itertools, json, random, weakref
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache, partial, reduce

class Color(Enum):
    RED = 1

class Box:
    shared = 0

    def __init__(self):
        self.x = 0
        self.y = 1
        self.link = []

    def __repr__(self):
        return f"Box({getattr(self, 'x', None)})"

    def who(self):
        return "box"

class Other(Box):
    def who(self):
        return "other"

class Node:
    __slots__ = ("a", "__weakref__")

    def __init__(self, a):
        self.a = a

class Weight:
    def __init__(self, heavy):
        self.heavy = heavy

    def __eq__(self, other):
        return self.heavy == other.heavy

    def __lt__(self, other):
        return self.heavy < other.heavy

    def __hash__(self):
        return hash(self.heavy % 2)

    def __repr__(self):
        return f"Weight({self.heavy})"

@dataclass
class Record:
    items: list = field(default_factory=list)
"""
PROGRAM = """
total = 0

def program(world):
    global total
    total = 0
    Box.shared = 0
    count = 0
    box, twin, node, record = Box(), Box(), Node(0), Record([0])
    table, items, more, many, queue = {"k": 0}, [0, 1], [5], {0}, deque([3])
    groups, order, outer = defaultdict(list), OrderedDict(k=0, p=1), {"k": [0, 1]}
    pair, nodes, weights, keyed, look = ([0, 1], [5]), [Node(0), Node(1)], [Weight(0), Weight(1)], {Weight(0): 0}, {0: 0}
    parts = [Record([0]), Record([0, 1])]
    Color.RED.weight = 0
    steps, tickets, numbered, pairs = iter(items), itertools.count(), enumerate(more), zip(items, more)
    produced, chained = (item + box.x for item in items), itertools.chain(more, items)
    buffer, dice, cells, raw, digest = io.StringIO(), random.Random(5), array.array("i", [0]), bytearray(1), hashlib.sha256()
    window, user, chain, weak, writer = memoryview(raw), UserDict(k=0), ChainMap({}, table), weakref.WeakKeyDictionary(), csv.writer(buffer)
    push, later = items.append, partial(items.append, 7)

    def apply(function, *arguments):
        return function(*arguments)

    @lru_cache
    def cached(number):
        return number + box.x

    lock = new_lock()
    log = {}
"""
SET_UP = (
    "twin = box",
    "more = items",
    "outer['k'] = items",
    "outer['q'] = more",
    "box.link = items",
    "record.items = items",
    "pair = (items, more)",
    "groups['k'] = items",
    "nodes = [node, node]",
    "parts = [record, record]",
    "order['k'] = items",
    "weights[1] = weights[0]",
    "outer = {'k': outer}",
)
ACTOR = """
    def actor{number}({names}):
        nonlocal count
        global total
        saw = watch(log, {number})
"""
NAMES = (
    "box twin node record table items more many queue groups order outer pair nodes weights keyed look parts lock steps tickets numbered "
    "pairs produced chained buffer dice cells raw digest window user chain weak writer push later apply cached"
)
TAIL = """
    @world.at_end
    def left():
        rest = [vars(box).get("x"), box.y, box.link, vars(box).get("new"), vars(twin).get("x"), node.a]
        rest += [record, list(table.items()), items, more, sorted(many), list(queue)]
        rest += [sorted(groups.items()), list(order.items()), list(outer.items()), pair]
        rest += [buffer.getvalue(), dice.random(), list(cells), bytes(raw), digest.hexdigest()[:4], dict(user), dict(chain), len(weak)]
        rest += [type(box).__name__, Color.RED.weight, next(tickets), list(steps)]
        rest += [[one.a for one in nodes], weights, sorted(keyed.values()), look, parts, count, total, Box.shared, vars(box).get("shared")]
        world.outcome(repr((sorted(log.items()), rest)))
"""
VARIABLES = ("count", "total")
ATTRIBUTES = ("x", "y", "link", "new", "shared", "a", "heavy", "items")
SHOWN = re.compile(r"saw\((.*)\)$")
CAUGHT = "(LookupError, AttributeError, RuntimeError, ValueError, TypeError)"


def source(rng: random.Random, actors: int = 2, statements: int = 2) -> str:
    """Return the source of a random program."""
    kinds = rng.sample(sorted(STATEMENTS), rng.choice([1, 1, 2]))
    pool = [statement for kind in kinds for statement in STATEMENTS[kind]]
    chosen = rng.sample(pool, min(len(pool), rng.randint(2, 4)))
    text = PROGRAM + "".join(f"    {line}\n" for line in rng.sample(SET_UP, rng.choice([0, 0, 1, 2, 3])))
    for number in range(actors):
        text += ACTOR.format(number=number, names=", ".join(f"{name}={name}" for name in NAMES.split()))
        for _ in range(rng.randint(1, statements)):
            lines = _statement(rng, chosen)
            if rng.random() < 0.1:
                lines = ["with lock:", *(f"    {line}" for line in lines)]
            text += "        try:\n" + "".join(f"            {line}\n" for line in lines)
            text += f"        except {CAUGHT} as error:\n            saw(type(error).__name__)\n"
        text += f'    world.actor("a{number}", actor{number})\n'
    return text + TAIL


def watch(log: dict[int, list[str]], actor: int) -> Callable[[str], None]:
    """Return what an actor calls with what it sees; no memory of the program's."""
    return log.setdefault(actor, []).append


def _statement(rng: random.Random, chosen: list[str]) -> list[str]:
    values = {"n": rng.randint(0, 2), "k": rng.choice(["'k'", "'q'"]), "c": rng.choice(["items", "more", "[]"])}
    line = SHOWN.sub(r"saw(repr(\1))", rng.choice(chosen).format(**values))
    return [line] if line.startswith("for") else line.split("; ")


def program(text: str, compiled: Callable[[str], Any], new_lock: Callable[[], Any]) -> Any:
    """Return the scenario function of a source."""
    space: dict[str, Any] = {"__name__": "random_objects_program", "new_lock": new_lock, "watch": watch}
    for part in (HEAD, text):
        exec(_code(part, compiled) if part is HEAD else compiled(part), space)
    return space["program"]


@functools.cache
def _code(text: str, compiled: Callable[[str], Any]) -> Any:
    return compiled(text)
