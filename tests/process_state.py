"""A module with state that actors of several processes use: each has its own."""

import threading

count = 0
cache = {}
names = ["x"]
made = None
data = bytearray(b"ab")
lock = threading.Lock()
again = threading.RLock()
ready = threading.Event()


class Config:
    level = 0
    options = {"debug": False}  # noqa: RUF012

    def __init__(self):
        self.n = 0


config = Config()


def bump():
    global count
    count += 1
    return count


def remember():
    if "k" not in cache:
        cache["k"] = len(cache) + count
    return cache["k"]


def name_it():
    names.append(f"y{len(names)}")
    return len(names)


def make():
    global made
    if made is None:
        made = [0]
    made[0] += 1
    return made[0]


def level():
    Config.level += 1
    Config.options["debug"] = not Config.options["debug"]
    return Config.level, Config.options["debug"]


def attribute():
    config.n += 1
    config.new = getattr(config, "new", 0) + 2
    return config.n, config.new


def locked():
    global count
    with lock, again, again:
        count += 10
    return count


def once():
    if not ready.is_set():
        ready.set()
        return "first"
    return "later"


def set_up():
    names.append("set-up")
    cache["made"] = inner = {"n": 0}
    return inner


def through_alias(inner, name):
    inner["n"] += 1
    cache["made"][name] = 1
    return sorted(cache["made"].items()), name_it()


def price_of(price):
    if "price" not in cache:
        cache["price"] = price.get()
    return cache["price"]


def change(price, value):
    price.set(value)
    cache.pop("price", None)


def seen():
    return count


def more(thing):
    thing.n += 1


def fill(view):
    view[0] = 1
    data[1] = 2


ACTIONS = (bump, remember, name_it, make, level, attribute, locked, once)


def shown():
    """Return the state as a text without addresses."""
    events = ready.is_set()
    return repr([count, cache, names, made, Config.level, Config.options, sorted(vars(config).items()), events])
