"""Rewriting changes nothing: rewritten code gives what plain code gives, outside a simulation and inside one with a single actor."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import pathlib
import sys
import textwrap
import traceback
import types
import unittest
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simharness
from simharness.instrument.loader import compiled, importing
from simharness.instrument.marks import is_instrumented
from simharness.runtimes.control import installed


@pytest.fixture(scope="module", autouse=True)
def _runtimes_in_place():
    with installed():
        yield


def in_a_simulation(work):
    """Call `work` in a simulation with one actor; return its result."""
    results = []

    def scenario(world):
        def only():
            results.append(work())
            world.step("done")

        world.actor("only", only)

    result = simharness.explore(scenario, settings=simharness.Settings(shrink=0, watchdog=100.0))
    assert result.verdict is simharness.Verdict.VERIFIED, result.counterexample.failure
    return results[0]


def ran(code):
    """Run a module's code and its function `main`; return what it printed and came to, or the exception."""
    module = sys.modules["differential"] = types.ModuleType("differential")
    space = vars(module)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(code, space)
            came_to = repr(space["main"]())
        except Exception as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "differential.py"]
            came_to = f"{type(error).__name__}: {error} at {lines}"
    del sys.modules["differential"]
    return printed.getvalue(), came_to


def same(source):
    """Compare a source run plain, rewritten, and rewritten in a simulation."""
    plain = ran(compile(source, "differential.py", "exec"))
    rewritten = compiled(source, "differential.py")
    assert ran(rewritten) == plain
    assert in_a_simulation(lambda: ran(rewritten)) == plain
    return plain


PROGRAMS = {
    "evaluation order": """
        def main():
            log = []
            def say(value):
                log.append(value)
                return value
            class Box: pass
            box, table = Box(), {}
            box.n = 1
            (say(box)).n = say(5)
            table[say("k")] = say(7)
            table[say("k")] += say(3)
            say(box).n += say(4)
            del table[say("k")]
            say(1) in [say(2), say(1)]
            say(1) < say(2) < say(0) < say(9)
            say(0) or say([]) or say({}) and say(3)
            [*say([1]), *say([2])]; {**say({1: 2})}
            max(say(1), *say([2, 3]), key=say(lambda one: one))
            return [value if isinstance(value, (int, str)) else type(value).__name__ for value in log], box.n, table
    """,
    "super, __class__ and private names": """
        class A:
            __secret = 3
            def __init__(self): self.__n = 1
            def look(self): return self.__n + self.__secret + A.__secret, __class__.__name__
        class B(A):
            def __init__(self):
                super().__init__()
                self.__n = 5
            def look(self): return super().look(), self.__n, sorted(vars(self))
            @classmethod
            def make(cls): return cls().look()
        def main(): return B.make(), B().look()
    """,
    "locals, exec and closures": """
        counter = 0
        def main():
            global counter
            counter += 1
            n, names = 0, []
            def bump():
                nonlocal n
                n += 1
                return sorted(locals())
            names.append(bump())
            space = {}
            exec("m = 5", space)
            return sorted(locals()), n, names, counter, space["m"], bump.__code__.co_freevars, "space" in main.__code__.co_varnames
    """,
    "__getattr__, descriptors, properties and slots": """
        class Field:
            def __get__(self, owner, kind): return ("got", owner is not None)
            def __set__(self, owner, value): owner.log.append(value)
        class Odd:
            __slots__ = ("log", "a")
            field = Field()
            def __init__(self): self.log = []
            def __getattr__(self, name): return name.upper() if name != "none" else self.__getattribute__("none")
            @property
            def both(self): return self.a, self.missing
            @both.setter
            def both(self, value): self.a = value
        def main():
            odd = Odd()
            before = odd.a
            odd.field = 1
            odd.field += ("x",)
            odd.both = 2
            return before, odd.field, odd.log, odd.both, hasattr(odd, "b"), Odd.field
    """,
    "containers that somebody has subclassed": """
        class Loud(dict):
            def __getitem__(self, key): return ("loud", super().__getitem__(key))
            def __missing__(self, key): return "none"
            def __contains__(self, key): return True
        class Items(list):
            def __iter__(self): return iter(["mine"])
            def append(self, value): super().append((value,))
        def main():
            loud, items = Loud(a=1), Items()
            loud["b"] = 2
            items.append(3)
            items += [4]
            return loud["a"], loud["z"], "q" in loud, dict(loud), list(items), items[0], len(items), [*items], items == [(3,), 4]
    """,
    "exceptions and their lines": """
        def fails(number):
            table, items = {"k": 1}, [1]
            if number == 0: return table["z"]
            if number == 1: return items[5]
            if number == 2: return items + "x"
            if number == 3: return missing
            if number == 4: return table.nothing
            if number == 5:
                for key in table: table[key + "x"] = 1
            if number == 6: return items < 3
            if number == 7: return fails()
            if number == 8:
                a, b = items
            if number == 9: del unbound
            if number == 10: items.extend(1)
            if number == 11: assert not items, f"has {items}"
            if number == 12: return max(*items, key=1, other=2)
            unbound = 1
        def main():
            import traceback
            found = []
            for number in range(14):
                try:
                    fails(number)
                except Exception as error:
                    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == "differential.py"]
                    found.append((type(error).__name__, str(error), lines))
            return found
    """,
    "generators, coroutines and comprehensions": """
        def numbers(items):
            got = yield from items
            for item in (one for one in items if one):
                try:
                    got = yield item, got
                except ValueError as error:
                    yield str(error)
                finally:
                    items.append(0)
            return items
        class Ready:
            def __await__(self):
                return (yield 1)
        async def wait(items):
            async def each():
                for item in items: yield item
            return [item async for item in each()], await Ready()
        def main():
            items = [1, 2]
            steps = numbers(items)
            found = [next(steps), steps.send(None), next(steps), steps.throw(ValueError("oh")), list(steps)]
            task = wait([3])
            task.send(None)
            try:
                task.send(9)
            except StopIteration as end:
                found.append(end.value)
            return found, {a: b for a, b in zip(items, items)}, {x * y for x in items for y in items if x != y}, [n := 5, n]
    """,
    "matching, walrus, starred targets and conditional expressions": """
        class Point:
            __match_args__ = ("x", "y")
            def __init__(self, x, y): self.x, self.y = x, y
        def what(value):
            match value:
                case Point(0, y): return "zero", y
                case {"k": found, **rest}: return found, rest
                case [first, *others] if others: return first, others
                case _: return "other" if not value else "some"
        def main():
            first, *middle, last = [1, 2, 3, 4]
            (a, [b, c]), d = (1, [2, 3]), 4
            if (n := len(middle)) > 1: a += n
            return [what(v) for v in (Point(0, 5), {"k": 1, "z": 2}, [1, 2], [], 3)], first, middle, last, a, b, c, d
    """,
    "dataclasses, enums, named tuples and decorators": """
        from __future__ import annotations
        from dataclasses import dataclass, field, replace
        from enum import Enum
        from collections import namedtuple, Counter, defaultdict, deque, OrderedDict
        from functools import cached_property, wraps
        def twice(function):
            '''Doubles.'''
            @wraps(function)
            def inner(*args, **kwargs): return function(*args, **kwargs) * 2
            return inner
        class Colour(Enum):
            RED = 1
        @dataclass(order=True)
        class Item:
            name: str
            tags: list[str] = field(default_factory=list)
            @cached_property
            def size(self): return len(self.tags)
        @dataclass(frozen=True)
        class Fixed:
            x: int
        @twice
        def add(a, *, b=2):
            "Adds."
            return a + b
        def main():
            item = Item("a")
            item.tags += ["t"]
            groups = defaultdict(list)
            groups[Colour.RED].append(item.size)
            try:
                Fixed(1).x = 2
            except Exception as error:
                text = type(error).__name__, str(error)
            ordered = OrderedDict(a=1); ordered.move_to_end("a")
            counts = Counter("abca"); counts["z"] += 1; counts.update("a")
            last = deque([1, 2], maxlen=2); last.append(3)
            return (item, replace(item, name="b") > item, dict(groups), text, add(3), add.__doc__, Item.__doc__, ordered, counts, last,
                    namedtuple("P", "x y")(1, 2), counts.most_common(1), item < Item("b"), Item.__annotations__)
    """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rewritten_program_comes_to_the_same_as_the_plain_one(name):
    _, came_to = same(textwrap.dedent(PROGRAMS[name]))
    assert "Error" not in came_to or name == "exceptions and their lines" or "Frozen" in came_to, came_to


LIBRARY = ["textwrap", "shlex", "string", "fractions", "userdict"]


@pytest.mark.parametrize("name", LIBRARY)
def test_the_tests_of_a_library_module_pass_when_it_and_they_are_rewritten(name):
    tests = f"test.test_{name}"
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(tests) is None:
        pytest.skip("this Python comes without its tests")
    before = set(sys.modules)
    modules = {"userdict": "collections"}.get(name, name)
    source = pathlib.Path(importlib.util.find_spec(modules).origin)
    code = compiled(source.read_bytes(), str(source))
    space = {"__name__": modules, "__package__": modules if modules == "collections" else ""}
    exec(code, space)

    def passed():
        suite = unittest.defaultTestLoader.loadTestsFromName(tests)
        report = io.StringIO()
        result = unittest.TextTestRunner(report, verbosity=0).run(suite)
        assert not result.failures + result.errors, report.getvalue()
        return result.testsRun

    with importing((tests,)):
        assert passed() > 10
        with ThreadPoolExecutor(1) as thread:  # near the end of the stack, unittest cannot report the RecursionError that a test asks for
            assert thread.submit(in_a_simulation, passed).result() > 10
    for found in set(sys.modules) - before:
        if found.startswith("test."):
            del sys.modules[found]


# Random expressions

NAMES = ("n", "m", "items", "more", "table", "many", "box", "text")
ATOMS = st.sampled_from([*NAMES, "box.n", "box.items", "0", "2", "'a'", "[]", "{}", "None", "missing", "(1, 2)", "glob", "cell"])


def _finite(walked, test):
    """A list that its own test appends to is walked as it was before: the walk would never end."""
    return f"[*{walked}]" if "append" in test else walked


def _combined(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "|", "&", "==", "!=", "<", "in", "not in", "and", "or", "is"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        pairs.map(lambda parts: f"{parts[0]}[{parts[1]}]" if parts[0][0].isalpha() else f"({parts[0]})[{parts[1]}]"),
        pairs.map(lambda parts: f"({parts[0]} if {parts[1]} else 7)"),
        pairs.map(lambda parts: f"[one for one in {_finite(*parts)} if {parts[1]}]"),
        pairs.map(lambda parts: f"say({parts[0]}, {parts[1]})"),
        inner.map(lambda part: f"[*{part}]"),
        inner.map(lambda part: f"sorted({part}, key=str)"),
        inner.map(lambda part: f"len({part})"),
        inner.map(lambda part: f"(lambda one: (one, {part}))({part})"),
        inner.map(lambda part: f"f'{{{part}!r}}'" if "'" not in part and "{" not in part else part),
        inner.map(lambda part: f"(not {part})"),
        inner.map(lambda part: f"items.append({part})"),
        inner.map(lambda part: f"table.get({part})"),
        inner.map(lambda part: f"table.setdefault('a', {part})"),
        inner.map(lambda part: f"(n := {part})"),
        inner.map(lambda part: f"list(enumerate({part}))"),
    )


EXPRESSIONS = st.recursive(ATOMS, _combined, max_leaves=6)
STATEMENTS = st.one_of(
    EXPRESSIONS.map(lambda value: f"say({value})"),
    st.tuples(
        st.sampled_from(["n", "box.n", "table['a']", "items[0]", "glob", "cell", "items", "box.items"]),
        st.sampled_from(["=", "+=", "*=", "|="]),
        EXPRESSIONS,
    ).map(" ".join),
    st.tuples(st.sampled_from(["a, b", "a, *b", "box.n, items[0]"]), EXPRESSIONS).map(lambda parts: f"{parts[0]} = {parts[1]}"),
    EXPRESSIONS.map(lambda value: f"for box.n in {value}: say(box.n)"),
    EXPRESSIONS.map(lambda value: f"for glob in {value}: say(glob)"),
    EXPRESSIONS.map(lambda value: f"del table[{value}]"),
    EXPRESSIONS.map(lambda value: f"assert {value}, {value}"),
)


def module_of(statements):
    """Return a module whose `main` runs the statements, each on its own, and tells what it saw."""
    lines = [
        "glob = 1",
        "class Box:",
        "    def __repr__(self):",
        "        return 'box'",
        "def main():",
        "    global glob",
        "    glob, cell, seen = 1, 2, []",
    ]
    lines += ["    def say(*values):", "        seen.append(repr(values))", "        return values[-1]"]
    lines += ["    def other():", "        nonlocal cell", "        cell = 3"]
    lines += ["    n, m, items, more, table, many, text = 1, 2, [1, 2], [3], {'a': 1}, {1, 2}, 'ab'", "    box = Box()"]
    lines += ["    box.n, box.items = 0, [4]"]
    for statement in statements:
        lines += ["    try:", f"        {statement}", "    except Exception as error:"]
        lines += ["        seen.append((type(error).__name__, str(error)))"]
    lines += ["    return seen, n, items, table, box.n, box.items, glob, cell"]
    return "\n".join(lines).replace("<__main__", "<")


def compare_random(statements):
    source = module_of(statements)
    try:
        ast.parse(source)
        plain = compile(source, "differential.py", "exec")
    except SyntaxError:
        return
    expected = ran(plain)
    rewritten = compiled(source, "differential.py")
    if " at 0x" not in expected[1]:
        assert ran(rewritten) == expected
        assert in_a_simulation(lambda: ran(rewritten)) == expected


def few(count):
    return settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@few(60)
@given(st.lists(STATEMENTS, min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_random_statements_come_to_the_same_rewritten_and_plain(statements):
    compare_random(statements)


@pytest.mark.long
@few(5_000)
@given(st.lists(STATEMENTS, min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_thousands_of_random_statements_come_to_the_same_rewritten_and_plain(statements):
    compare_random(statements)


def test_a_traceback_and_the_lines_of_a_module_are_those_of_the_source():
    source = "def f(box):\n    x = box.n\n    return (x +\n            box.items[3])\n"
    plain, rewritten = compile(source, "f.py", "exec"), compiled(source, "f.py")

    def lines(code):
        return sorted({line for one in (code, *code.co_consts) if hasattr(one, "co_lines") for *_, line in one.co_lines() if line})

    assert lines(plain) == lines(rewritten)


def test_whatever_a_program_puts_among_the_modules_is_no_instrumented_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "no_module_at_all", frozenset())
    assert not is_instrumented("no_module_at_all")
    assert simharness.explore(lambda: None).verdict == "inconclusive"
