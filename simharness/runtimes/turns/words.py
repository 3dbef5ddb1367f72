"""What ends the proof that a turn of a loop changes nothing, in words."""

from __future__ import annotations

from types import CodeType, FrameType

from simharness.engine.obstacles import Obstacle
from simharness.places import is_foreign, place_of
from simharness.runtimes.turns.insides import Instruction

_STORES = "it stores an attribute, an item or a variable that others share"
_INSTRUCTIONS = {
    "STORE_ATTR": "it stores the attribute {}",
    "STORE_SUBSCR": "it stores an item",
    "STORE_GLOBAL": "it stores the variable {}",
    "STORE_NAME": "it stores the variable {}",
    "STORE_DEREF": "it stores the variable {}, which other functions share",
    "DELETE_SUBSCR": "it deletes an item",
    "BINARY_OP": "it counts, or changes a value in place",
    "IMPORT_NAME": "it imports {}",
    "YIELD_VALUE": "it runs in a generator",
}
_FUNCTIONS = {
    "augmented": "it counts, or changes a value in place",
    "store": _STORES,
    "update": _STORES,
    "assigned": _STORES,
    "__next__": "it advances an iterator",
}
"""Functions of ours that rewritten code calls."""


def of_instruction(instruction: Instruction) -> str:
    """Return what an instruction does that may change something."""
    return _INSTRUCTIONS.get(instruction.name, "it may change something").format(instruction.value)


def of_call(function: object) -> str:
    """Return what a call does that may change something."""
    name = function.co_qualname if isinstance(function, CodeType) else getattr(function, "__qualname__", type(function).__qualname__)
    return f"it calls {name}, which may change something"


def of_ours(frame: FrameType) -> str:
    """Return what a call of code of ours, which may stand in for other code, does that may change something."""
    code = frame.f_code
    return _FUNCTIONS.get(code.co_name) or of_call(frame.f_locals.get("function", code))


def obstacle(frame: FrameType | None, words: str) -> Obstacle:
    """Return what code in this frame does; of code that is not the user's, that it is called."""
    called = frame
    while called is not None and is_foreign(called.f_code.co_filename):
        words = "it logs" if called.f_globals.get("__name__") == "logging" else of_call(called.f_code)
        called = called.f_back
    return Obstacle(words, place_of(frame))
