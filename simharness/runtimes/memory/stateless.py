"""Which functions of the standard library leave nothing behind that another call of them finds.

Where the steps of Trio's tasks are reduced by what they touch, a call of any other function that is not instrumented counts as touching
everything: then the steps are not reduced.
"""

from __future__ import annotations

import sys

_PURE = """
builtins math cmath statistics fractions numbers string textwrap re html urllib json pickle copyreg struct array base64 binascii zlib
hashlib hmac uuid ipaddress datetime calendar zoneinfo copy pprint reprlib shlex difflib fnmatch ast dis inspect graphlib
"""
_OF_WHAT_THEY_RECEIVE = """
collections heapq bisect itertools functools operator dataclasses typing types abc enum contextlib contextvars weakref
"""
_POINTS = "time threading thread queue concurrent asyncio sqlite3 random secrets"
_FOR_PEOPLE = "logging warnings traceback unittest doctest"
_names = f"{_PURE} {_OF_WHAT_THEY_RECEIVE} {_POINTS} {_FOR_PEOPLE}".split()
STATELESS = (
    frozenset(_names) | {f"_{name}" for name in _names} | {"_sre", "_blake2", "_md5", "_sha1", "_sha2", "_sha256", "_sha512", "_sha3"}
)
"""Modules whose functions compute, change only objects that they receive (which are announced), are scheduling points, or write what only
people read."""

READERS = frozenset(
    {"builtins", "math", "cmath", "_operator", "_functools", "itertools", "time", "sys", "gc", "_thread", "_heapq", "_bisect", "_json"}
    | {"_pickle", "_random", "marshal", "posix", "nt", "io", "_io", "_weakref", "_abc", "_codecs", "unicodedata", "_string", "_warnings"}
    | {"_struct", "zlib", "binascii", "_statistics", "_signal", "atexit", "faulthandler", "greenlet", "_greenlet", "_contextvars", "select"}
    | {"_collections", "_stat", "_datetime", "_decimal", "_socket", "fcntl", "errno", "_tracemalloc", "_locale", "_symtable", "_asyncio"}
)
"""Modules in C whose functions only read the objects that they receive, or consume them, or are scheduling points."""


def keeps_state(module: str, name: str) -> bool:
    """Whether a function of a module, by name, may have state of its own, if that is a module of the standard library."""
    if module == "sys":
        return name.startswith("set")
    return module in sys.stdlib_module_names and module not in STATELESS
