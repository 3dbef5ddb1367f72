"""Random classes, as source and as lists of small steps; what their programs can come to is found by running every interleaving.

The oracle knows nothing of the engine: it interprets the steps, one actor's at a time, in each possible order.
"""

from functools import cache
from itertools import permutations
from typing import NamedTuple

FIELDS = ("x", "y")
LOCKS = ("m", "n")


class Step(NamedTuple):
    """`read` a field, `write` it with what was read last and a number, `lock`, `unlock`, or `await` a field that is not 0."""

    kind: str
    name: str
    number: int = 0


def drawn_operations(random):
    """Operations by name, each with its steps."""
    return {name: _operation(random) for name in ("f", "g", "h")[: random.randint(2, 3)]}


def _operation(random):
    body = [step for _ in range(random.randint(1, 2)) for step in _accesses(random)]
    style = random.choice(("bare", "locked", "half", "two locks", "two locks"))
    first, second = random.sample(LOCKS, 2)
    if style == "bare":
        return tuple(body)
    if style == "half":
        at = random.randint(0, len(body))
        return (*body[:at], Step("lock", "m"), *body[at:], Step("unlock", "m"))
    if style == "two locks":
        return (Step("lock", first), Step("lock", second), *body, Step("unlock", second), Step("unlock", first))
    return (Step("lock", "m"), *body, Step("unlock", "m"))


def _accesses(random):
    name, number = random.choice(FIELDS), random.randint(1, 2)
    increment = (Step("read", name), Step("write", name, number))
    return random.choice((increment, increment, (Step("read", name),), (Step("write", name, number),)))


def drawn_program(random, names):
    shape = random.choice(((1, 1), (1, 2), (1, 1, 1), (2, 2)))
    return tuple(tuple(random.choice(sorted(names)) for _ in range(length)) for length in shape)


def source(name, operations):
    lines = [f"class {name}:", "    def __init__(self):"]
    lines += [f"        self.{field} = 0" for field in FIELDS] + [f"        self.{lock} = threading.Lock()" for lock in LOCKS]
    for operation, steps in operations.items():
        lines += [f"    def {operation}(self):", "        last = 0"]
        lines += [f"        {_line(step)}" for step in steps] + ["        return last"]
    return "\n".join(lines)


def _line(step):
    return {
        "read": f"last = self.{step.name}",
        "write": f"self.{step.name} = last + {step.number}",
        "lock": f"self.{step.name}.acquire()",
        "unlock": f"self.{step.name}.release()",
    }[step.kind]


class Found(NamedTuple):
    """What an interleaving came to: results by position, the fields, and what preceded what; `waits`: the calls that are stuck."""

    results: tuple
    fields: tuple
    before: tuple
    waits: frozenset = frozenset()


def interleavings(operations, program):
    """Return what every interleaving comes to."""

    @cache
    def after(fields, locks, actors, results, before):
        found = set()
        for number, (call, at, value) in enumerate(actors):
            last = value
            if call == len(program[number]):
                continue
            position = (number, call)
            if at == -1:  # the call begins
                done = tuple(sorted((position, other) for other, _ in results))
                found |= go(
                    actors, number, (call, 0, 0), fields, locks, results, tuple(sorted({*before, *((b, a) for a, b in done)})), after
                )
                continue
            steps = operations[program[number][call]]
            if at == len(steps):  # the call returns
                found |= go(actors, number, (call + 1, -1, 0), fields, locks, (*results, (position, last)), before, after)
                continue
            step = steps[at]
            held = dict(locks)
            if step.kind == "lock":
                if step.name in held:
                    continue
                held[step.name] = number
            elif step.kind == "unlock":
                del held[step.name]
            values = dict(zip(FIELDS, fields, strict=True))
            if step.kind == "read":
                last = values[step.name]
            elif step.kind == "write":
                values[step.name] = last + step.number
            found |= go(actors, number, (call, at + 1, last), tuple(values.values()), tuple(sorted(held.items())), results, before, after)
        if found:
            return frozenset(found)
        waits = frozenset((number, call) for number, (call, _, _) in enumerate(actors) if call < len(program[number]))
        return frozenset([Found(tuple(sorted(results)), fields, before, waits)])

    return after((0, 0), (), tuple((0, -1, 0) for _ in program), (), ())


def go(actors, number, new, fields, locks, results, before, after):
    return after(fields, locks, (*actors[:number], new, *actors[number + 1 :]), results, before)


def serial(operations, program):
    """Return what each order of the calls comes to that keeps each actor's own: the order, the results and the fields."""
    positions = [(number, call) for number, calls in enumerate(program) for call in range(len(calls))]
    found = []
    for order in permutations(positions):
        if any(
            order.index((number, call)) > order.index((number, call + 1)) for number, call in positions if (number, call + 1) in positions
        ):
            continue
        values, results = dict.fromkeys(FIELDS, 0), []
        for position in order:
            last = 0
            for step in operations[program[position[0]][position[1]]]:
                if step.kind == "read":
                    last = values[step.name]
                elif step.kind == "write":
                    values[step.name] = last + step.number
            results.append((position, last))
        found.append((order, tuple(sorted(results)), tuple(values.values())))
    return found


def violations(operations, program):
    """Return which specifications some interleaving violates."""
    orders = serial(operations, program)
    wrong = set()
    for one in interleavings(operations, program):
        if one.waits:
            wrong.add("no deadlock")
            continue
        fitting = [order for order, results, fields in orders if (results, fields) == (one.results, one.fields)]
        if not fitting:
            wrong |= {"serializable", "linearizable"}
        elif not any(all(order.index(first) < order.index(second) for first, second in one.before) for order in fitting):
            wrong.add("linearizable")
        if all(fields != one.fields for _, _, fields in orders):
            wrong.add("no lost update")
    return wrong
