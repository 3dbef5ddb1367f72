"""What instructions of byte code may do, for Python 3.11 to 3.13."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterator, Mapping
from enum import IntEnum, auto
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

from simharness.instrument.marks import HOOKS

NOT_IN_PLACE = 13
"""`BINARY_OP` with a greater argument changes its left operand, which may be a container."""


Stack = tuple[bool, ...]
"""For each value on the stack, whether it is a constant or a hook of rewritten code."""


class Does(IntEnum):
    """What an instruction does, as far as a proof asks."""

    HARM = 0
    NOTHING = auto()
    """It moves or makes values, or jumps."""
    MAKES = auto()
    """It makes a value that nobody else has and that holds no memory of others."""
    LOADS = auto()
    """It loads a local variable."""
    LOADS_SHARED = auto()
    """It loads a variable of a closure or a module."""
    LOADS_ATTRIBUTE = auto()
    TESTS = auto()
    """It asks whether a value is true or empty."""
    COMPARES = auto()
    SEARCHES = auto()
    """It asks whether a container has an element."""
    SUBSCRIPTS = auto()
    CALLS = auto()
    """It calls something: that must show in an event."""
    SPREADS = auto()
    """It calls something with the values of a tuple, or of what is made one, as arguments."""
    CREATES = auto()
    """It calls a comprehension, or makes the generator of an expression."""
    CONSUMES = auto()
    """It calls something with the generator of an expression, made just before, as its only argument."""
    APPENDS = auto()
    """It appends to the list that a comprehension makes."""
    YIELDS = auto()
    ITERATES = auto()
    """It makes an iterator."""
    ADVANCES = auto()
    """It advances an iterator."""


_NAMES: Mapping[Does, str] = {
    Does.NOTHING: """CACHE NOP RESUME POP_TOP PUSH_NULL COPY SWAP EXTENDED_ARG PRECALL KW_NAMES MAKE_CELL COPY_FREE_VARS LOAD_CLOSURE
        STORE_FAST DELETE_FAST JUMP_FORWARD JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT RETURN_VALUE RETURN_CONST PUSH_EXC_INFO
        CHECK_EXC_MATCH POP_EXCEPT RERAISE RAISE_VARARGS MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE END_FOR POP_ITER
        STORE_FAST_STORE_FAST""",
    Does.MAKES: """LOAD_CONST BUILD_TUPLE BUILD_LIST BUILD_SET BUILD_MAP BUILD_STRING BUILD_CONST_KEY_MAP IS_OP FORMAT_VALUE FORMAT_SIMPLE
        FORMAT_WITH_SPEC CONVERT_VALUE LOAD_ASSERTION_ERROR""",
    Does.LOADS: "LOAD_FAST LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_FAST_LOAD_FAST STORE_FAST_LOAD_FAST",
    Does.LOADS_SHARED: "LOAD_GLOBAL LOAD_DEREF LOAD_NAME",
    Does.LOADS_ATTRIBUTE: "LOAD_ATTR LOAD_METHOD",
    Does.TESTS: """TO_BOOL UNARY_NOT POP_JUMP_IF_TRUE POP_JUMP_IF_FALSE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_FORWARD_IF_FALSE
        POP_JUMP_BACKWARD_IF_TRUE POP_JUMP_BACKWARD_IF_FALSE JUMP_IF_TRUE_OR_POP JUMP_IF_FALSE_OR_POP POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE
        POP_JUMP_FORWARD_IF_NONE POP_JUMP_FORWARD_IF_NOT_NONE POP_JUMP_BACKWARD_IF_NONE POP_JUMP_BACKWARD_IF_NOT_NONE""",
    Does.COMPARES: "COMPARE_OP BINARY_OP UNARY_NEGATIVE UNARY_POSITIVE UNARY_INVERT",
    Does.SEARCHES: "CONTAINS_OP",
    Does.SUBSCRIPTS: "BINARY_SUBSCR",
    Does.CALLS: "CALL CALL_KW BEFORE_WITH WITH_EXCEPT_START",
    Does.SPREADS: "CALL_FUNCTION_EX",
    Does.APPENDS: "LIST_APPEND",
    Does.YIELDS: "YIELD_VALUE",
    Does.ITERATES: "GET_ITER",
    Does.ADVANCES: "FOR_ITER",
}
_DOES = {name: does for does, names in _NAMES.items() for name in names.split()}


_CALLED = {(Does.ITERATES, 0): Does.CREATES, (Does.CREATES, 1): Does.CONSUMES}
"""What a call does, by the instruction before it and its number of arguments: only comprehensions and such expressions are compiled so."""


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
        stack: how many values lie on the stack before it.
        below: for each value below its operands, whether it is the same whenever the instruction is reached.
        following: the offsets of the instructions that can come next.
    """

    does: Does
    offset: int
    name: str
    value: Any
    stack: int
    below: Stack
    following: frozenset[int]


@lru_cache(maxsize=500)
def instructions(code: CodeType) -> Mapping[int, Instruction]:
    """Return the instructions of a function, by their offsets."""
    listed = list(dis.get_instructions(code))
    stacks = _stacks(code, listed)
    place = {each.offset: number for number, each in enumerate(listed)}
    result = {}
    before = Does.NOTHING
    for each in listed:
        does = _DOES.get(each.opname, Does.HARM)
        if each.opname == "CALL":
            does = _CALLED.get((before, each.arg or 0), does)
        if each.opname not in ("CACHE", "PRECALL"):
            before = does
        if each.opname == "BINARY_OP" and (each.arg or 0) >= NOT_IN_PLACE:
            does = Does.HARM
        stack = stacks.get(each.offset, ())
        below = stack[: max(0, len(stack) - _operands(each))]
        if each.opname == "EXTENDED_ARG":
            continue
        following = frozenset(_following(each, listed, place))
        result[each.offset] = Instruction(does, each.offset, each.opname, each.argval, len(stack), below, following)
    for each in reversed(listed):
        if each.opname == "EXTENDED_ARG":
            result[each.offset] = result[listed[place[each.offset] + 1].offset]
    return result


@lru_cache(maxsize=500)
def handlers(code: CodeType) -> frozenset[int]:
    """Return the offsets at which handlers of exceptions begin."""
    return frozenset(entry.target for entry in dis.Bytecode(code).exception_entries)  # type: ignore[attr-defined]  # not in the stubs


def at(code: CodeType, offset: int) -> Instruction | None:
    """Return the instruction at this offset, which may be that of a cache that belongs to it."""
    known = instructions(code)
    while offset >= 0 and offset not in known:
        offset -= 2
    return known.get(offset)


def _operands(instruction: dis.Instruction) -> int:
    """Return how many values an instruction takes from the stack; for one that cannot be where an actor waits, more than there can be."""
    name, argument = instruction.opname, instruction.arg or 0
    if name in ("CALL", "PRECALL"):
        return argument + 2
    if name == "CALL_KW":
        return argument + 3
    if name == "CALL_FUNCTION_EX":
        return 3 + (argument & 1)
    if name in ("BINARY_SUBSCR", "COMPARE_OP", "CONTAINS_OP", "BINARY_OP"):
        return 2
    if name in ("LOAD_ATTR", "LOAD_METHOD", "BEFORE_WITH", "TO_BOOL", "UNARY_NOT", "FOR_ITER"):
        return 1
    return 0 if _DOES.get(name) is not Does.TESTS else 1


def _stacks(code: CodeType, listed: list[dis.Instruction]) -> dict[int, Stack]:
    """Return what lies on the stack before each instruction that can be reached."""
    place = {each.offset: number for number, each in enumerate(listed)}
    stacks: dict[int, Stack] = {}
    todo: deque[tuple[int, Stack]] = deque([(0, ())])
    for entry in dis.Bytecode(code).exception_entries:  # type: ignore[attr-defined]  # not in the stubs
        todo.append((entry.target, (False,) * (entry.depth + 1 + bool(entry.lasti))))
    while todo:
        offset, stack = todo.popleft()
        if offset in stacks or offset not in place:
            continue
        stacks[offset] = stack
        each = listed[place[offset]]
        if each.opcode in _JUMPS:
            todo.append((each.argval, _after(each, stack, jump=True)))
        following = place[offset] + 1
        if each.opname not in _NEVER_CONTINUE and following < len(listed):
            todo.append((listed[following].offset, _after(each, stack, jump=False)))
    return stacks


def _following(each: dis.Instruction, listed: list[dis.Instruction], place: dict[int, int]) -> Iterator[int]:
    """Yield the offsets of the instructions that can come after one; an iterator that is exhausted skips what takes it off the stack."""
    here = place[each.offset]
    if each.opname not in _NEVER_CONTINUE and here + 1 < len(listed):
        yield listed[here + 1].offset
    if each.opcode in _JUMPS:
        for later in range(place[each.argval], min(place[each.argval] + (3 if each.opname == "FOR_ITER" else 1), len(listed))):
            yield listed[later].offset


_JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_NEVER_CONTINUE = frozenset(
    {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS"}
)
_TAKING = ("POP_", "STORE_FAST", "DELETE_FAST", "JUMP_", "RETURN_")
_TOUCHED = 4
"""How many values at the top of the stack an instruction may replace without taking them off, at most."""


def _after(each: dis.Instruction, stack: Stack, jump: bool) -> Stack:
    """Return what lies on the stack after an instruction."""
    argument = each.arg if each.opcode >= dis.HAVE_ARGUMENT else None
    effect = dis.stack_effect(each.opcode, argument, jump=jump)
    name = each.opname
    if name in ("CACHE", "NOP", "RESUME", "PRECALL", "KW_NAMES", "EXTENDED_ARG") and not effect:
        return stack
    if name in ("LOAD_CONST", "PUSH_NULL") or (name == "LOAD_GLOBAL" and each.argval == HOOKS):
        return stack + (True,) * effect
    if name in ("LOAD_ATTR", "LOAD_METHOD") and stack and effect >= 0:
        return stack[:-1] + (stack[-1],) * (effect + 1)
    if (name.startswith("LOAD_") or name == "COPY") and effect > 0:
        return stack + (False,) * effect
    taken = (
        _operands(each) if name in ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "COMPARE_OP", "CONTAINS_OP", "BINARY_OP", "BINARY_SUBSCR") else 0
    )
    if taken:
        return (*stack[:-taken], False)
    if name == "PUSH_EXC_INFO":
        return (*stack[:-1], True, False)  # below the exception lies the one that is handled outside
    if effect <= 0 and name.startswith(_TAKING):
        return stack[:effect] if effect else stack
    if name in ("CHECK_EXC_MATCH", "GET_ITER") or (effect == 0 and _DOES.get(name) is Does.TESTS):
        return (*stack[:-1], False)
    left = max(0, min(len(stack), len(stack) + effect))
    kept = stack[: max(0, left - _TOUCHED)]
    return kept + (False,) * (max(0, len(stack) + effect) - len(kept))
