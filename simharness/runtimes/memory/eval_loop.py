"""Where the eval loop of this version of CPython can switch threads, and what an execution does between two such points.

CPython looks whether another thread asks for the interpreter lock (`CHECK_EVAL_BREAKER` in `Python/ceval.c`, from 3.12 on in
`Python/bytecodes.c`; `_CHECK_PERIODIC` from 3.13 on) only at the instructions of `SWITCHES`. `tests/test_atomicity.py` checks the table
against the interpreter that runs it: it asks for an interruption without a call, runs a construct, and looks whether it was interrupted.
Instructions count as compiled: one that has been specialised may look less often.

The interpreter's profiler reports each Python frame that is entered (`RESUME`) and each call in C that returns. Jumps backwards are
known from where a frame calls hooks: two calls of hooks one after the other may have one between them if a path from one to the other
has one and calls no other hook. If there is also a path without one (past a handler, a loop without turns, out of a loop with `break`)
there may be a switch too many, but none is missed.

With `atomicity="gil"` an access without a switch since its actor's last access is part of the same step (`Learned.late`). Otherwise
`EvalLoop.together` says which steps an actor has made without a switch between them.
"""

from __future__ import annotations

import dis
import os
import platform
import sys
import sysconfig
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, MethodDescriptorType, MethodType, MethodWrapperType
from typing import Any

from simharness.engine.actors import SHIFT, Actor
from simharness.engine.kernel import Kernel
from simharness.engine.modes import Mode
from simharness.engine.operations import CHECKED, Operation
from simharness.engine.phases import RUNNING
from simharness.engine.record import VERSIONED
from simharness.errors import Misuse
from simharness.instrument.marks import HOOKS
from simharness.instrument.scopes import UNTOUCHED
from simharness.places import is_foreign, is_ours

EVAL_LOOP = "eval loop"
"""In a kernel's context: what follows the eval loop."""
GIL = Mode("atomicity", "gil", profiled=True)
"""Accesses between which this version's eval loop cannot switch are one step."""
OBSERVED = Mode("atomicity", "observed", profiled=True)
"""Each access is a step, and it is noted where this version's eval loop cannot switch."""

CALLS = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})
"""Instructions after which the eval loop can switch, unless they enter a Python frame."""
_JUMPS = {"JUMP_BACKWARD"}
SWITCHES: dict[tuple[int, int], frozenset[str]] = {
    (3, 11): CALLS | _JUMPS | {f"POP_JUMP_BACKWARD_IF_{test}" for test in ("TRUE", "FALSE", "NONE", "NOT_NONE")} | {"RESUME"},
    (3, 12): CALLS | _JUMPS | {"RESUME"},
    (3, 13): CALLS | _JUMPS | {"RESUME"},
}
"""The instructions at which the eval loop can switch, by version of CPython."""
CONSTANT = (range, tuple, str, bytes, frozenset)
"""Types of values that loops iterate over without calling hooks."""
_HIDDEN = UNTOUCHED & {"super", "range", "property", "staticmethod", "classmethod"}
"""Classes whose calls neither a hook nor the profiler reports."""
_SEEN = (FunctionType, MethodType, BuiltinFunctionType, MethodDescriptorType)
_IN_C = (BuiltinFunctionType, MethodDescriptorType, MethodWrapperType, type)
_HOOKS = os.path.join("runtimes", "memory", "hooks.py")
USER, LIBRARY, HARNESS, HOOK = range(4)


def version() -> str:
    """Return what this interpreter is called, such as "CPython 3.11"."""
    return f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"


def free_threaded() -> bool:
    """Whether this is a build without an interpreter lock."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def unknown() -> str:
    """Return why it is not known where this interpreter switches threads; empty if it is."""
    if free_threaded():
        return "this is a free-threaded build, whose threads switch anywhere"
    if platform.python_implementation() != "CPython" or sys.version_info[:2] not in SWITCHES:
        return f"it is not known where {version()} switches threads"
    return ""


def demand(kernel: Kernel) -> None:
    """Have accesses be one step where this interpreter's eval loop cannot switch between them."""
    require()
    kernel.turn_on(GIL)


def require() -> None:
    """Refuse `atomicity="gil"` where it cannot be had.

    Raises:
        Misuse: this interpreter is not in the table.
    """
    reason = unknown()
    if reason:
        raise Misuse(f"atomicity='gil': {reason}; leave it out, and what the language promises is explored")


class _Code:
    """A function's instructions, as far as it is asked where the eval loop can switch."""

    def __init__(self, code: CodeType) -> None:
        here = SWITCHES[sys.version_info[0], sys.version_info[1]]
        listed = list(dis.get_instructions(code))
        ends = [*(each.offset for each in listed[1:]), len(code.co_code)]
        calls = [each for each in listed if each.opname in CALLS & here]
        own = {each.positions for each in listed if each.argval == HOOKS}
        self.starts = {offset: each.offset for each, end in zip(listed, ends, strict=True) for offset in range(each.offset, end, 2)}
        self.calls = {each.offset for each in calls}
        self.turns = {each.offset for each in listed if each.opname == "FOR_ITER"}
        self._hooks = {each.offset for each in calls if each.positions in own}
        self._hidden = set()
        for each in listed:
            if each.opname in ("LOAD_GLOBAL", "LOAD_NAME") and each.argval in _HIDDEN:
                self._hidden.add(next(call.offset for call in calls if call.offset > each.offset and _starts_with(call, each)))
        handled = [(entry.start, entry.end, entry.target) for entry in dis.Bytecode(code).exception_entries]  # type: ignore[attr-defined]
        self._following: dict[int, list[tuple[int, bool]]] = {}
        for each, end in zip(listed, ends, strict=True):
            following = [] if each.opname in _NEVER_CONTINUE else [(end, each.offset in self._hidden)]
            if each.opcode in _JUMPING:
                following.append((each.argval, each.argval <= each.offset and each.opname in here))
            following += [(target, False) for first, last, target in handled if first <= each.offset < last]
            self._following[each.offset] = following
        self._known: dict[tuple[int, int], bool] = {}

    def switches(self, first: int, second: int) -> bool:
        """Whether there may be a switch between two calls of code of ours with no other between them, given their offsets."""
        known = self._known.get((first, second))
        if known is None:
            known = self._known[first, second] = self._search(first, second)
        return known

    def _search(self, first: int, second: int) -> bool:
        todo = [(first, False)]
        seen = set()
        while todo:
            offset, switched = todo.pop()
            for following, switches in self._following.get(offset, ()):
                step = following, switched or switches
                if step in seen:
                    continue
                seen.add(step)
                if following not in self._hooks and following != second:
                    todo.append(step)
        return (second, True) in seen or (second, False) not in seen


@lru_cache(maxsize=2000)
def code_of(code: CodeType) -> _Code:
    """Return what is asked of a function's instructions."""
    return _Code(code)


_JUMPING = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
_NEVER_CONTINUE = {
    "JUMP_FORWARD",
    "JUMP_BACKWARD",
    "JUMP_BACKWARD_NO_INTERRUPT",
    "RETURN_VALUE",
    "RETURN_CONST",
    "RERAISE",
    "RAISE_VARARGS",
}


def _starts_with(call: dis.Instruction, name: dis.Instruction) -> bool:
    """Whether a call begins with this name in the source."""
    first, second = call.positions, name.positions
    return first is not None and second is not None and (first.lineno, first.col_offset) == (second.lineno, second.col_offset)


class _Stretch:
    """What an actor has done since its last access: whether there was a switch, and where its frames called hooks last."""

    __slots__ = ("before", "hooks", "step", "switched", "whole")

    def __init__(self) -> None:
        self.switched, self.whole = True, False
        self.step = self.before = -1
        self.hooks: dict[int, int] = {}


class EvalLoop:
    """Follows the eval loop through one execution.

    Attributes:
        straight: for each access whose actor has made nothing but an access before it, the index of that one.
        together: those of them that the eval loop cannot switch between.
    """

    def __init__(self, kernel: Kernel, joins: bool) -> None:
        self._kernel = kernel
        self._joins = joins
        self._stretches: dict[Actor, _Stretch] = {}
        self._kinds: dict[CodeType, int] = {}
        self.straight: dict[int, int] = {}
        self.together: dict[int, int] = {}
        kernel.context[EVAL_LOOP] = self
        require()
        if sys.getprofile() is not None:
            raise Misuse("atomicity='gil' needs the interpreter's profiler, which another tool uses: run without that tool")
        if joins:
            kernel.learned.steps_grow()
            kernel.context.setdefault(VERSIONED, "where the eval loop can switch")
        sys.setprofile(self._profiled)

    @staticmethod
    def of(kernel: Kernel) -> EvalLoop | None:
        """Return what follows the execution under way, if anybody asked for it."""
        if GIL in kernel.modes:
            return EvalLoop(kernel, True)
        return EvalLoop(kernel, False) if OBSERVED in kernel.modes else None

    def close(self) -> None:
        """The execution is over."""
        sys.setprofile(None)
        self._stretches.clear()

    # Steps

    def access(self, operation: Operation) -> None:
        """The current actor touches memory: make a step, or add to the one under way."""
        kernel = self._kernel
        actor = kernel.actor
        if actor is not None and kernel.phase == RUNNING and actor.absorbs is None and actor.host is actor:
            actor.absorbs = self._absorb
        kernel.step(operation)
        stretch = self._stretches.get(actor) if actor is not None and kernel.phase == RUNNING else None
        if stretch is not None:
            stretch.step = kernel.record.n - 1
            if stretch.before >= 0:
                self.straight[stretch.step] = stretch.before
                if stretch.whole:
                    self.together[stretch.step] = stretch.before
                stretch.before = -1

    def _absorb(self, operation: Operation) -> bool:
        """Add an operation to the actor's step under way, if that is an access and the eval loop cannot have switched since."""
        kernel = self._kernel
        actor = kernel.actor
        assert actor is not None
        stretch = self._stretches.get(actor) or self._stretches.setdefault(actor, _Stretch())
        memory = operation.kind.family.name == "memory"
        together = memory and stretch.step >= 0 and not stretch.switched
        if together and self._joins:
            writes = operation.writes | actor.mark
            kernel.record.amend(operation.reads | actor.base, writes | (CHECKED if writes & kernel.learned.checked else 0))
            kernel.note(f"{operation.kind} {operation.detail}")
            return True
        if self._joins and kernel.record.n and kernel.record.keys[-1] >> SHIFT == actor.index:
            kernel.loop.as_before()  # its last step is over: the footprint is complete
        stretch.before, stretch.whole = stretch.step if memory else -1, together
        stretch.step = -1
        stretch.switched = False
        return False

    # What the interpreter reports

    def calling(self, function: Any, kind: type, stand_in: Any) -> Any:
        """A hook returns `stand_in`, to be called in place of `function`: return what reports that call."""
        if stand_in is not function:
            return stand_in if issubclass(kind, _IN_C) else _Entered(self, stand_in)
        return function if kind in _SEEN else _returning(function)

    def switched(self) -> None:
        """The eval loop can switch here."""
        actor = self._kernel.actor
        if actor is not None:
            stretch = self._stretches.get(actor)
            if stretch is not None:
                stretch.switched = True

    def _kind(self, code: CodeType) -> int:
        kind = self._kinds.get(code)
        if kind is None:
            file = code.co_filename
            kind = (HOOK if file.endswith(_HOOKS) else HARNESS) if is_ours(file) else LIBRARY if is_foreign(file) else USER
            self._kinds[code] = kind
        return kind

    def _profiled(self, frame: FrameType, event: str, argument: Any) -> None:
        kernel = self._kernel
        if kernel.phase != RUNNING or kernel.dying or kernel.actor is None:
            return
        stretch = self._stretches.get(kernel.actor)
        if stretch is None:
            return
        kind = self._kind(frame.f_code)
        back = frame.f_back
        if kind >= HARNESS:
            if event in ("call", "return") and back is not None and self._kind(back.f_code) == USER:
                if event == "call":
                    self._at(stretch, back, kind)
                elif kind == HARNESS:
                    code = code_of(back.f_code)
                    stretch.switched |= code.starts.get(back.f_lasti, -1) in code.calls
        elif event == "return":
            stretch.hooks.pop(id(frame), None)
        elif event == "call":
            stretch.hooks.pop(id(frame), None)
            stretch.switched = stretch.switched or self._is_of_user(frame)
        elif event == "c_return" and kind == USER:
            stretch.switched = True

    def _is_of_user(self, frame: FrameType | None) -> bool:
        """Whether the user's code has led to this frame, not code of ours."""
        while frame is not None and (kind := self._kind(frame.f_code)) == LIBRARY:
            frame = frame.f_back
        return frame is not None and kind == USER

    def _at(self, stretch: _Stretch, frame: FrameType, kind: int) -> None:
        """A frame of the user's calls code of ours; other instructions than calls and loops may do so several times."""
        code, last = code_of(frame.f_code), stretch.hooks.get(id(frame))
        offset = code.starts.get(frame.f_lasti, -1)
        stretch.hooks[id(frame)] = offset
        again = last != offset or kind == HOOK or offset in code.turns
        if last is not None and again and code.switches(last, offset):
            stretch.switched = True


class Turns:
    """An iterator over a value that nobody can change: the interpreter reports each turn of the loop."""

    __slots__ = ("steps",)

    def __init__(self, value: Any) -> None:
        self.steps = iter(value)

    def __iter__(self) -> Turns:
        return self

    def __next__(self) -> Any:
        return next(self.steps)


class _Entered:
    """Stands for a function in Python that code of ours calls: says that it is entered when the arguments have been evaluated."""

    __slots__ = ("function", "loop")

    def __init__(self, loop: EvalLoop, function: Any) -> None:
        self.loop = loop
        self.function = function

    @property
    def __call__(self) -> Any:
        """Return the function; no frame of ours lies between it and its caller."""
        self.loop.switched()
        return self.function


def _returning(function: Any) -> Any:
    """Return a function in Python that calls another object: the interpreter reports its return."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **keywords)

    return call
