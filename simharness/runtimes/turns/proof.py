"""Examines the byte code that an actor runs between its steps, as it runs: whether it can have changed more than local variables.

It sees every instruction of Python code, and every call. Only instructions that move values, jump, compare or load pass, and calls of
Python code, which is examined in turn, of primitives, and of a few functions in C. A step between them says itself what it reads and
writes.
In code that is not instrumented memory is also read without a step: such reads are kept, so that a change of theirs is noticed
(`UnseenChange`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from sys import setprofile, settrace
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, GeneratorType, ModuleType
from typing import Any

from simharness.engine.obstacles import Obstacle
from simharness.engine.turns import Segment
from simharness.instrument.marks import HOOKS, announces
from simharness.places import is_ours
from simharness.runtimes.turns import words as words_of
from simharness.runtimes.turns.allowed import consumed, is_pure, owes_step, says_all, serves_us, stands_in
from simharness.runtimes.turns.attributes import UNKNOWN, found, is_still, runs_unseen_code, says_itself
from simharness.runtimes.turns.insides import Does, Instruction, at, handlers, instructions

_CHEAP = sys.version_info < (3, 12)
"""Whether it costs little to change what the interpreter reports."""
_ATOM = True
"""Stands for a value of an immutable type."""
_TRACING = frozenset({sys.gettrace, sys.settrace, sys.getprofile, sys.setprofile})
_NEW_CURSOR = "SimConnection.execute"
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>")
_GENERATORS = 0x20 | 0x80 | 0x200


class _Running:
    """A frame that is examined."""

    __slots__ = (
        "before",
        "born",
        "code",
        "extended",
        "given",
        "handlers",
        "last",
        "lowest",
        "made",
        "owes",
        "own",
        "pending",
        "raised",
        "seen",
        "top",
    )

    def __init__(self, frame: FrameType, last: Instruction | None, born: int = -1) -> None:
        self.code = instructions(frame.f_code)
        self.handlers = handlers(frame.f_code)
        self.last = last
        self.raised = self.extended = False
        self.seen = HOOKS in frame.f_code.co_names and announces(frame.f_globals)
        self.pending = False
        self.top: Any = UNKNOWN
        self.born = born
        self.own: FrameType | None = None
        self.owes = -1
        self.given = (0, -1)
        self.lowest = 1 << 30
        self.made: dict[int, int] = {}
        self.before = Does.NOTHING


class Examined:
    """A proof (`simharness.engine.turns.Proof`)."""

    def __init__(self) -> None:
        self._frames: dict[FrameType, _Running] = {}
        self._born: dict[FrameType, int] = {}
        self._number = 0
        self._examines = self._yields = False
        self._release: Callable[[], None] = self._frames.clear
        self._outermost: FrameType | None = None
        self._begin()
        self._harmless = False

    def _begin(self) -> None:
        self._waits_for: FrameType | None = None
        self._harmless = True
        self._since: int | None = None
        self._unseen: list[Callable[[], bool]] = []
        self._harm_done: Obstacle | None = None

    def _harm(self, frame: FrameType | None = None, words: str = "") -> None:
        """End the proof; in words, what the code in this frame does that may change something, where that is worth saying."""
        if words and self._harm_done is None:
            self._harm_done = words_of.obstacle(frame, words)
        self._harmless = False
        self._unseen = []
        self._release()

    # The protocol

    def on_harm(self, release: Callable[[], None]) -> None:
        """Have this called when the code may have changed something, and when the outermost function ends."""
        self._release = release

    def start(self, frame: FrameType | None) -> None:
        """Examine what the frame, and those that called it, do from here on; nothing, once another tool traces, such as a debugger."""
        if self._yields or sys.gettrace() is not None or sys.getprofile() is not None:
            self._yield()
            return
        frames, before = self._frames, self._frames.copy()
        self._waits_for = None
        while frame is not None:
            if not is_ours(frame.f_code.co_filename):
                self._waits_for = self._waits_for or frame
                self._outermost = frame
                before.pop(frame, None)
                if frame not in frames:
                    frames[frame] = _Running(frame, at(frame.f_code, frame.f_lasti))
                    if frame.f_code.co_flags & _GENERATORS:
                        self._harm(frame, "it runs in a generator")
                frame.f_trace_lines, frame.f_trace_opcodes = False, True
                frame.f_trace = self._local
            frame = frame.f_back
        for gone in before:  # it ended while nothing was examined
            del frames[gone]
        self._examines = True
        setprofile(self._profiled)
        settrace(self._called)
        if not _CHEAP:
            for frame in frames:  # from Python 3.13 on, the interpreter listens only to what is set while it traces
                frame.f_trace_opcodes = False
                frame.f_trace_opcodes = True

    def stop(self) -> None:
        """Stop examining, until the next start."""
        if self._examines:
            self._examines = False
            settrace(None)
            setprofile(None)
            for frame in self._frames:
                frame.f_trace_opcodes = False

    def segment(self) -> Segment:
        """Return what has been seen since the last call of this method."""
        self._number += 1
        lowest = {}
        for frame, running in self._frames.items():
            if running.last is not at(frame.f_code, frame.f_lasti):
                self._harm()
            if running.lowest < 1 << 30:
                lowest[frame] = running.lowest
                running.lowest = 1 << 30
        result = Segment(self._number, self._harmless and self._waits_for is None, self._since, lowest, self._unseen, self._harm_done)
        self._begin()
        return result

    def below(self, code: CodeType, offset: int) -> Sequence[bool]:
        """For each value on the stack below the operands of an instruction, return whether it is the same whenever that is reached."""
        instruction = at(code, offset)
        return instruction.below if instruction is not None else ()

    def forget(self) -> None:
        """Release the frames."""
        for frame in self._frames:
            frame.f_trace = None
            frame.f_trace_lines, frame.f_trace_opcodes = True, False
        self._frames.clear()
        self._born.clear()
        self._waits_for = self._outermost = None
        self._harm()

    def _yield(self) -> None:
        """Leave tracing to another tool, which must not find what is installed here."""
        self._yields = True
        if self._examines:
            self._examines = False
            settrace(None)
            setprofile(None)
        for frame in self._frames:
            if frame.f_trace == self._local:
                frame.f_trace = None
            frame.f_trace_lines, frame.f_trace_opcodes = True, False
        self._frames.clear()
        self._born.clear()
        self._harm()

    # What the interpreter calls

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Python code is called."""
        code, caller = frame.f_code, self._frames.get(frame.f_back) if frame.f_back is not None else None
        if caller is not None:
            caller.pending = False
        if is_ours(code.co_filename):
            if caller is None:
                return None
            if not says_all(frame) and not self._consumes(frame, caller):
                self._harm(frame.f_back, words_of.of_ours(frame))
            caller.owes = self._number if owes_step(code.co_filename) else -1
            if code.co_name.startswith("fetch"):
                self._fetches(caller, frame.f_locals.get("self"))
            frame.f_trace_lines = False
            self._profile(False)  # calls in C are of interest in examined code only, and an event for each costs much
            return self._returned
        if caller is None and serves_us(code.co_filename) and not stands_in(frame.f_back):
            return None  # code of the standard library that a primitive is made of
        born = self._born.get(frame, -1)
        if code.co_flags & _GENERATORS:
            if born < 0:
                self._harm(frame.f_back, f"it runs the generator {code.co_qualname}")
                return None
            self._begins_by(born)
        elif code.co_name in _COMPREHENSIONS:
            born = self._number
        self._frames[frame] = _Running(frame, None, born)
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        self._profile(True)
        return self._local

    def _consumes(self, frame: FrameType, caller: _Running) -> bool:
        """Whether a call consumes a generator that nobody else has; no turn may begin after that was made."""
        generator = consumed(frame)
        if type(generator) is not GeneratorType or caller.last is None or caller.last.does is not Does.CONSUMES:
            return False
        own = caller.own = generator.gi_frame
        if own is not None:
            self._born[own] = self._number
        return own is not None

    def _profile(self, on: bool) -> None:
        if _CHEAP:
            setprofile(self._profiled if on else None)

    def _returned(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Code of ours returns to code that is examined."""
        if event == "return" and frame.f_back is not None:
            caller = self._frames.get(frame.f_back)
            if caller is not None:
                caller.top = argument
                if caller.own is not None:
                    self._born.pop(caller.own, None)
                    caller.own = None
                if caller.owes == self._number:  # it made no step
                    self._harm()
                elif caller.owes >= 0 and frame.f_code.co_qualname == _NEW_CURSOR:
                    caller.given = id(argument), self._number
                self._profile(True)
        return self._returned

    def _fetches(self, caller: _Running, cursor: Any) -> None:
        """Rows are fetched: no turn may begin after the cursor was made."""
        if caller.given == (id(cursor), self._number):
            caller.owes = -1
            self._begins_by(self._number)
        else:
            self._harm()

    def _begins_by(self, number: int) -> None:
        """No turn may begin after this segment."""
        self._since = number if self._since is None else min(self._since, number)

    def _profiled(self, frame: FrameType, event: str, argument: Any) -> None:
        """A function in C is called."""
        if event == "c_call":
            running = self._frames.get(frame)
            if running is not None:
                running.pending = False
                running.top = _ATOM
                if argument in _TRACING:
                    self._yield()
                elif not is_pure(argument, running.seen):
                    self._harm(frame, words_of.of_call(argument))

    def _local(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Examined code runs an instruction, returns or handles an exception."""
        running = self._frames.get(frame)
        if running is None:
            return None
        if frame is self._waits_for:
            self._waits_for = None
        if event == "opcode":
            instruction = running.code.get(frame.f_lasti)
            if instruction is None:
                self._harm()
            else:
                self._instruction(frame, running, instruction)
        elif event == "return":
            del self._frames[frame]
            if frame is self._outermost:
                self._outermost = None
                self._harm()
            caller = self._frames.get(frame.f_back) if frame.f_back is not None else None
            if caller is not None:
                caller.top = argument
            else:
                self._profile(False)
        elif event == "exception":
            running.raised = True
            if running.pending:
                self._harm()
            running.pending = False
            running.top = UNKNOWN
        return self._local

    def _instruction(self, frame: FrameType, running: _Running, instruction: Instruction) -> None:
        if instruction is running.last and running.extended:
            return  # its argument was announced before it
        self._continues(frame.f_lasti, running, instruction)
        does = instruction.does
        running.lowest = min(running.lowest, instruction.stack)
        if running.pending:  # what was called showed in no event: a class, or another object in C
            running.pending = False
            self._harm(frame, "it calls a class, or an object in C, which may change something")
        if does is Does.HARM:
            self._harm(frame, words_of.of_instruction(instruction))
        elif does is Does.CREATES:
            running.top = UNKNOWN
        elif does is Does.APPENDS or does is Does.YIELDS:
            self._begins_by(running.born)
        elif does in (Does.CALLS, Does.SPREADS, Does.CONSUMES):
            running.pending = True
            if does is Does.SPREADS and type(running.top) is not tuple:
                self._harm()
        elif does is Does.ITERATES or does is Does.ADVANCES:
            self._iterates(running, instruction)
        elif not running.seen:
            self._not_instrumented(frame, running, instruction)
        if does is Does.LOADS:
            running.top = frame.f_locals.get(_last(instruction.value), UNKNOWN) if not running.seen else UNKNOWN
        elif does in (Does.MAKES, Does.COMPARES, Does.SEARCHES, Does.TESTS):
            running.top = _ATOM
        elif does is Does.SUBSCRIPTS:
            running.top = UNKNOWN
        running.before = does if instruction.name not in ("CACHE", "EXTENDED_ARG") else running.before

    def _continues(self, offset: int, running: _Running, instruction: Instruction) -> None:
        """See that an instruction follows the one before: the interpreter must not have left out any."""
        last = running.last
        if last is not None and offset not in last.following and not (running.raised and offset in running.handlers):
            self._harm()
        running.last, running.raised, running.extended = instruction, False, offset != instruction.offset

    def _iterates(self, running: _Running, instruction: Instruction) -> None:
        """A loop begins, or takes the next element: no turn may begin after its iterator was made."""
        if instruction.does is Does.ITERATES:
            running.made[instruction.offset] = self._number
            if not running.seen and type(running.top) not in (tuple, range, str):
                self._harm()
            return
        offset = instruction.offset
        self._begins_by(max((number for made, number in running.made.items() if made < offset <= made + 4), default=running.born))

    def _not_instrumented(self, frame: FrameType, running: _Running, instruction: Instruction) -> None:
        """Examine an instruction of code in which memory is read without a step."""
        does, name = instruction.does, instruction.value
        if does is Does.LOADS_SHARED:
            space: Any = frame.f_globals if instruction.name == "LOAD_GLOBAL" else frame.f_locals
            if instruction.name == "LOAD_GLOBAL" and name not in space:
                space = frame.f_builtins
            value = space.get(name, UNKNOWN)
            running.top = value
            if space is not frame.f_builtins:
                self._watch(lambda: (frame.f_globals if space is frame.f_globals else frame.f_locals).get(name, UNKNOWN), value)
        elif does is Does.LOADS_ATTRIBUTE:
            self._attribute(frame, running, str(name))
        elif does is Does.TESTS or does is Does.COMPARES:
            top = running.top
            if top is UNKNOWN or not says_itself(top):
                self._harm(frame, "it tests a value in a module that is not instrumented")
        elif does is Does.SUBSCRIPTS or (does is Does.SEARCHES and running.before is not Does.MAKES):
            self._harm(frame, "it looks into a container in a module that is not instrumented")

    def _attribute(self, frame: FrameType, running: _Running, name: str) -> None:
        owner = running.top
        running.top = UNKNOWN
        if owner is UNKNOWN:
            self._harm(frame, f"it reads the attribute {name} in a module that is not instrumented")
            return
        if owner is _ATOM:
            return
        held, value = found(owner, name)
        if held is UNKNOWN or runs_unseen_code(held):
            self._harm(frame, f"it reads the attribute {name}, which may run code")
        elif value is not UNKNOWN:
            running.top = value
            self._watch(lambda: found(owner, name)[1], value)

    def _watch(self, look: Callable[[], Any], value: Any) -> None:
        """Keep a read, to see whether it is still the same."""
        if not isinstance(value, FunctionType | ModuleType | type | BuiltinFunctionType):
            self._unseen.append(lambda: is_still(look(), value))


def _last(names: Any) -> Any:
    """Return the variable that an instruction leaves on top, where it handles two."""
    return names[-1] if isinstance(names, tuple) else names
