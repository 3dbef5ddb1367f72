"""What real threads can come to, as an oracle: OS threads that hand a baton over between two opcodes, every schedule with few preemptions.

It shares nothing with the engine: the program is compiled as it is and runs on genuine threads, with the interpreter's own tracing. A
schedule is a list of thread numbers. Before each opcode that can touch what others see, a thread asks which thread continues. All schedules
without a preemption are run first, then those with one, and so on (context bounding: Musuvathi and Qadeer, PLDI 2007).
"""

from __future__ import annotations

import dis
import sys
from _thread import allocate_lock, start_new_thread
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from types import CodeType, FrameType
from typing import Any

PRIVATE = """
RESUME CACHE NOP POP_TOP PUSH_NULL PRECALL KW_NAMES LOAD_CONST COPY SWAP EXTENDED_ARG LOAD_FAST STORE_FAST DELETE_FAST
LOAD_FAST_CHECK LOAD_FAST_AND_CLEAR LOAD_FAST_LOAD_FAST STORE_FAST_STORE_FAST STORE_FAST_LOAD_FAST LOAD_CLOSURE MAKE_CELL
COPY_FREE_VARS MAKE_FUNCTION SET_FUNCTION_ATTRIBUTE JUMP_FORWARD JUMP_BACKWARD_NO_INTERRUPT POP_JUMP_FORWARD_IF_NONE
POP_JUMP_FORWARD_IF_NOT_NONE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE RETURN_VALUE RETURN_CONST RETURN_GENERATOR BUILD_TUPLE
BUILD_LIST BUILD_MAP BUILD_CONST_KEY_MAP BUILD_STRING BUILD_SLICE POP_EXCEPT PUSH_EXC_INFO RERAISE CHECK_EXC_MATCH IS_OP
LOAD_ASSERTION_ERROR END_FOR POP_ITER
"""
"""Opcodes that touch nothing that other threads see, in any of the interpreter's versions."""
_PRIVATE = frozenset(PRIVATE.split())
_NAMES = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_METHODS = frozenset(name for kind in (list, dict, set, deque, OrderedDict, str) for name in vars(kind))


def points(code: CodeType, variables: frozenset[str], attributes: frozenset[str]) -> frozenset[int]:
    """Return the offsets of the opcodes that may touch what other threads see.

    Of global and closure variables only `variables` are assigned to while threads run; `attributes` are those of the program's own objects,
    which a name may mean besides a method of a container. A loop makes its iterator and takes the first element at once: the interpreter
    switches threads where it jumps back, not in between.
    """
    offsets = set()
    before = ""
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, instruction.argval
        if name in _PRIVATE or (name in _NAMES and value not in variables):
            continue
        if name in ("LOAD_METHOD", "LOAD_ATTR") and value in _METHODS and value not in attributes:
            continue
        if (before, name) != ("GET_ITER", "FOR_ITER"):
            offsets.add(instruction.offset)
        before = name
    return frozenset(offsets)


class Stopped(BaseException):
    """Ends a thread of a run that is over: the threads that are left wait for each other."""


class World:
    """What a scenario function gets: it collects the actors, the checks and the outcomes."""

    def __init__(self) -> None:
        self.actors: list[Callable[[], Any]] = []
        self.checks: list[Callable[[], Any]] = []
        self.outcomes: list[Any] = []

    def actor(self, name: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Add an actor."""
        self.actors.append(lambda: work(*arguments))

    def at_end(self, check: Callable[[], Any]) -> Callable[[], Any]:
        """Add a check of the end."""
        self.checks.append(check)
        return check

    def outcome(self, value: Any) -> None:
        """Note the outcome."""
        self.outcomes.append(value)


class Lock:
    """A lock of the threads of an oracle, which hands the baton over where a genuine one would block its thread."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.held = False

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock, as `threading.Lock.acquire` does."""
        if self.held and not blocking:
            return False
        if self.held:
            self.oracle.wait(lambda: not self.held)
        self.held = True
        return True

    def release(self) -> None:
        """Give the lock back."""
        self.held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Oracle:
    """Runs programs whose code is in one file; its OS threads are used again and again.

    Args:
        variables, attributes: see `points`.
    """

    def __init__(self, filename: str, variables: Collection[str], attributes: Collection[str]) -> None:
        self.filename = filename
        self.names = frozenset(variables), frozenset(attributes)
        self.points: dict[CodeType, frozenset[int]] = {}
        self.batons: list[Any] = []
        self.over = _taken()
        self.work: Sequence[Callable[[], Any]] = ()
        self.asked: list[tuple[int | None, tuple[int, ...], int]] = []

    def close(self) -> None:
        """End the OS threads."""
        self.work = ()
        for baton in self.batons:
            baton.release()

    def lock(self) -> Lock:
        """Make a lock."""
        return Lock(self)

    def outcomes(self, program: Callable[[World], None], preemptions: int = 2, most: int = 5_000) -> dict[Any, list[int]] | None:
        """Return each outcome with a schedule that reaches it; None if there are more than `most` schedules."""
        reached: dict[Any, list[int]] = {}
        waiting: list[list[tuple[int, ...]]] = [[()], *([] for _ in range(preemptions))]
        runs = 0
        for cost, prefixes in enumerate(waiting):
            while prefixes:
                runs += 1
                if runs > most:
                    return None
                prefix = prefixes.pop()
                outcome = self.run(program, prefix)
                schedule = [chosen for _, _, chosen in self.asked]
                reached.setdefault(outcome, schedule)
                for n in range(len(prefix), len(schedule)):
                    mover, possible, chosen = self.asked[n]
                    for other in possible:
                        price = cost + (mover in possible)
                        if other != chosen and price <= preemptions:
                            waiting[price].append((*schedule[:n], other))
        return reached

    def run(self, program: Callable[[World], None], prefix: Sequence[int]) -> Any:
        """Run one schedule, `prefix` and then without preemptions; return the outcome."""
        world = World()
        self.mover: int | None = None
        self.error: BaseException | None = None
        program(world)
        self.work, self.prefix, self.stopping = world.actors, prefix, False
        self.asked = []
        self.ready: list[Callable[[], bool] | None] = [None] * len(self.work)
        self.done = [False] * len(self.work)
        while len(self.batons) < len(self.work):
            self.batons.append(_taken())
            start_new_thread(self._thread, (len(self.batons) - 1,))
        self._pass_on()
        self.over.acquire()
        if self.error is not None:
            raise self.error
        if not all(self.done):
            self.stopping = True
            for number in [number for number, done in enumerate(self.done) if not done]:
                self.batons[number].release()
                self.over.acquire()
            return "deadlock"
        for check in world.checks:
            check()
        return world.outcomes[-1]

    def wait(self, ready: Callable[[], bool]) -> None:
        """Hand the baton over until `ready` holds."""
        mover = self.mover
        if mover is None:
            return
        self.ready[mover] = ready
        self._pass_on()
        self.batons[mover].acquire()
        if self.stopping:
            raise Stopped
        self.ready[mover] = None

    def _thread(self, number: int) -> None:
        while True:
            self.batons[number].acquire()
            if number >= len(self.work):
                return
            sys.settrace(self._called)
            try:
                self.work[number]()
            except Stopped:
                pass
            except BaseException as error:
                self.error = error
            finally:
                sys.settrace(None)
            self.done[number] = True
            if self.stopping:
                self.over.release()
            else:
                self._pass_on()

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != self.filename:
            return None
        if frame.f_code not in self.points:
            self.points[frame.f_code] = points(frame.f_code, *self.names)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode" and frame.f_lasti in self.points[frame.f_code] and not self.stopping:
            mover = self.mover
            assert mover is not None
            if self._pass_on(keeping=mover) != mover:
                self.batons[mover].acquire()
                if self.stopping:
                    raise Stopped
        return self._traced

    def _pass_on(self, keeping: int | None = None) -> int | None:
        """Choose which thread continues, and hand it the baton unless it is the one that has it; None: none can."""
        possible = tuple(
            number
            for number, done in enumerate(self.done)
            if not done and (self.ready[number] is None or self.ready[number]())  # type: ignore[misc]  # mypy does not narrow an item
        )
        if not possible:
            self.over.release()
            return None
        n = len(self.asked)
        chosen = self.prefix[n] if n < len(self.prefix) else keeping if keeping in possible else possible[0]
        assert chosen is not None
        self.asked.append((keeping, possible, chosen))
        self.mover = chosen
        if chosen != keeping:
            self.batons[chosen].release()
        return chosen


def _taken() -> Any:
    """Return a genuine lock that is taken: its release lets one thread go."""
    lock = allocate_lock()
    lock.acquire()
    return lock
