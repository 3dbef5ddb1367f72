"""A module with state of many kinds that outlives executions, and small actions on it: `random_state.py` makes programs of them."""

import bisect
import collections
import dataclasses
import enum
import functools
import gc
import heapq
import itertools
import logging
import operator
import random
import weakref
from types import SimpleNamespace

made = None
count = 0
doomed = "here"
registry = {}
nested = {"a": {"b": [1]}, "c": ({"d": 1},)}
names = ["x"]
more_names = names
numbers = {1, 2}
waiting = collections.deque([1], maxlen=3)
groups = collections.defaultdict(list, {"k": [0]})
order = collections.OrderedDict(one=1, two=2)
heap = [5, 7]
data = bytearray(b"ab")
drawn = random.Random(1)
space = SimpleNamespace(n=0)
counted = collections.Counter("aab")
wrapped = collections.UserDict(k=1)
chained = collections.ChainMap({"a": 1}, {"b": 2})

numbered = itertools.count(3, 2)
also_numbered = {"n": numbered}
next_number = numbered.__next__
turns = itertools.cycle(["red", "green", "blue"])
letters = iter("abcdefghijklmnopqrstuvwxyz")
read_names = iter(names)
log = logging.getLogger("tests.kept_state.log")


class Config:
    instance = None
    options = {"debug": False}  # noqa: RUF012
    doomed = 1

    def __init__(self):
        self.n = 0

    @functools.cached_property
    def costly(self):
        return object()


class Slotted:
    __slots__ = ("n", "unset")

    def __init__(self):
        self.n = 0


class Grown(list):
    extra = None


@dataclasses.dataclass
class Point:
    x: int = 0
    tags: list = dataclasses.field(default_factory=list)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Counted:
    alive = 0

    def __init__(self):
        Counted.alive += 1

    def __del__(self):
        Counted.alive -= 1


config, slotted, grown, point = Config(), Slotted(), Grown([1]), Point()
alias = config
keeper = Slotted.__new__(Slotted)


class Held:
    pass


held = Held()
weakly = weakref.WeakValueDictionary(held=held)
by_object = weakref.WeakKeyDictionary({held: 1})


@functools.cache
def remembered(key):
    return [key]


@functools.lru_cache(maxsize=2)
def bounded(key):
    return [key]


first_remembered = remembered("at import")


def with_default(seen=[]):  # noqa: B006  # that is the point
    seen.append(len(seen))
    return len(seen)


def _closure():
    calls = 0

    def call():
        nonlocal calls
        calls += 1
        return calls

    return call


called = _closure()


def numbering(numbers=itertools.count()):  # noqa: B008  # that is the point
    return next(numbers)


def memo(function):
    known = {}

    @functools.wraps(function)
    def wrapper(key):
        if key not in known:
            known[key] = function(key)
        return known[key]

    return wrapper


@memo
def memoised(key):
    return [key]


def set_up(logger):
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


# Actions


def make():
    global made
    if made is None:
        made = object()
    return made


def bump():
    global count
    count += 1
    return count


def create():
    global created
    try:
        return created
    except NameError:
        created = [1]
        return created


def delete():
    global doomed
    try:
        del doomed
    except NameError:
        return "gone"


def register():
    if "key" in registry:
        return registry["key"]
    registry["key"] = object()
    return registry["key"]


def registered_once():
    assert "once" not in registry, "registered twice"
    registry["once"] = True


def deepen():
    nested["a"]["b"].append(len(nested["a"]["b"]))
    nested["c"][0]["d"] += 1


def name_it():
    names.append("y")
    return len(more_names)


def sort_names():
    names.insert(0, "z")
    names.sort()


def number():
    numbers.add(len(numbers) + 10)
    numbers.discard(1)


def wait():
    waiting.append(len(waiting))


def group():
    groups["new"].append(1)
    groups["k"].append(2)


def reorder():
    order.move_to_end("one")
    order.setdefault("three", 3)


def push():
    heapq.heappush(heap, len(heap))
    bisect.insort(heap, 6)


def extend():
    data.extend(b"c")


def draw():
    return int(drawn.random() * 1000)


def spaced():
    space.n += 1
    space.new = 1


def counting():
    counted["a"] += 1
    counted.update("b")


def user_dict():
    wrapped["k"] += 1
    wrapped["new"] = 1


def chain():
    chained["a"] = chained.get("c", 0) + 1
    chained["c"] = 1


def instance():
    if Config.instance is None:
        Config.instance = Config()
    return Config.instance


def options():
    Config.options["debug"] = not Config.options["debug"]
    Config.added = getattr(Config, "added", 0) + 1


def undo_class():
    if hasattr(Config, "doomed"):
        del Config.doomed


def costly():
    return config.costly


def through_alias():
    alias.n += 1
    config.new = alias.n
    return config.n


def swap_attributes():
    config.__dict__ = {"n": config.n + 10}


def fill_slots():
    slotted.n += 1
    slotted.unset = getattr(slotted, "unset", 0) + 1


def grow():
    grown.append(2)
    grown.extra = len(grown)
    grown.own = 1


def move():
    point.x += 1
    point.tags.append(point.x)


def colour():
    Colour.RED.note = getattr(Colour.RED, "note", 0) + 1
    return Colour.RED.note


def weak():
    weakly.pop("held", None)
    weakly["other"] = config
    by_object[config] = len(by_object)


def remember():
    return remembered("k") is remembered("k"), remembered("at import") is first_remembered


def remember_some():
    return bounded("k") is bounded("k"), bounded.cache_info().currsize


def default():
    return with_default()


def change_default():
    with_default.__defaults__ = ([],)
    with_default.note = 1


def close_over():
    return called()


def memoise():
    return memoised("k")


def keep_one():
    registry.setdefault("counted", []).append(Counted())


def by_setattr():
    setattr(Config, "instance", 5)  # noqa: B010  # through a function in C
    operator.setitem(registry, "set", 1)
    globals()["added"] = globals().get("added", 0) + 1


def updated():
    registry.update(zip("ab", itertools.count(len(registry)), strict=False))
    vars(config).update(n=len(registry))


def give_number():
    return next(numbered), next(also_numbered["n"]), next_number()


def give_default_number():
    return numbering()


def take_turns():
    return next(turns), next(turns)


def read_on():
    return next(letters), next(read_names, None)


def add_handler():
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    log.setLevel(log.level + 1)
    return len(log.handlers), log.isEnabledFor(logging.DEBUG)


def add_logger():
    made = logging.getLogger("tests.kept_state.made")
    made.addFilter(str)
    made.propagate = not made.propagate
    return len(made.filters), made.propagate


def executed():
    exec("count = count + 5", globals())


ACTIONS = (
    draw,
    *(make, bump, create, delete, register, registered_once, deepen, name_it, sort_names, number, wait, group, reorder, push),
    *(extend, spaced, counting, user_dict, chain, instance, options, undo_class, costly, through_alias, swap_attributes),
    *(fill_slots, grow, move, colour, weak, remember, remember_some, default, change_default, close_over, memoise, keep_one),
    *(by_setattr, updated, executed, give_number, give_default_number, take_turns, read_on, add_handler, add_logger),
)


def shown():
    """Return all of the state as a text without addresses."""
    every = dict(sorted(globals().items()))
    state = {
        "variables": [name for name in every if not name.startswith(("_", "@"))],
        "plain": [count, every.get("doomed"), every.get("added"), names, list(numbers), waiting, dict(groups), list(order.items()), heap],
        "more": [bytes(data), vars(space), dict(counted), wrapped.data, chained.maps, nested, list(grown), vars(grown), point, slotted.n],
        "names": [
            sorted(set(vars(Config)) - {"__hash__", "__repr__"}),
            sorted(vars(config)),
            Config.options,
            list(registry),
            hasattr(slotted, "unset"),
            sorted(weakly),
        ],
        "objects": [len(by_object), Counted.alive, vars(Colour.RED).get("note"), vars(with_default), with_default.__defaults__],
        "caches": [remembered.cache_info().currsize, bounded.cache_info(), called.__closure__[0].cell_contents],
        "memo": memoised.__closure__[1].cell_contents,
        "iterators": [numbered, also_numbered["n"] is numbered is next_number.__self__, numbering.__defaults__, letters.__reduce__()],
        "turns": [one for one in gc.get_referents(turns) if isinstance(one, list)],
        "loggers": [log.level, len(log.handlers), log.propagate, "tests.kept_state.made" in logging.Logger.manager.loggerDict],
        "drawn": hash(drawn.getstate()),
        "made": [made is None, Config.instance is None, config.n],
    }
    return repr(state)
