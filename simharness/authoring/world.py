"""The world that a scenario sets up: actors, cells, choices, invariants, outcomes, files.

A world lives for one execution. Code that runs before the first actor moves is set-up: its operations happen at once and are
not choices. In actors, each operation on a cell, each `step` and each `choose` is a scheduling point.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from types import CoroutineType, FunctionType
from typing import Any, TypeVar

from simharness.authoring.virtual_clock import VirtualClock
from simharness.engine.actors import ROOT
from simharness.engine.clock import nanoseconds
from simharness.engine.clock_steps import sees_time
from simharness.engine.handlers import handle
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import ALONE, Kind, Role
from simharness.engine.lifetimes import START
from simharness.engine.liveness import Promise
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import RUNNING
from simharness.errors import Lacking, Misuse, SimharnessError, Stuck, scarcity
from simharness.places import Place, caller, last_place, repr_of, words_of
from simharness.runtimes.asynchronous import run_async
from simharness.runtimes.templates import give
from simharness.trace.moves import OPTIONS

GET = Kind(ALONE, "get", calls=("get()",))
SET = Kind(ALONE, "set", calls=("set",))
ADD = Kind(ALONE, "add")
SWAP = Kind(ALONE, "swap", calls=("swap",))
COMPARE_AND_SET = Kind(ALONE, "compare_and_set", calls=("compare_and_set",))
WAIT_UNTIL = Kind(ALONE, "wait_until", blocked="{name} is {state!r}", calls=("wait_until",))
STEP = Kind(ALONE, "step", done="{detail}", noun="{detail}", calls=("step",))
CHOOSE = Kind(ALONE, "choose", done="choose {result}", next="choose {choice}", noun="choice of {result}", calls=("choose",))
ASSUME = Kind(ALONE, "assume", Role.ASSUMES, blocked="its assumption is false: the execution is left out", calls=("assume",))

T = TypeVar("T")
Check = Callable[[], Any]


class Cell:
    """A shared variable whose every access is a scheduling point. Get one from `World.shared`."""

    def __init__(self, kernel: Kernel, resource: Resource) -> None:
        self._kernel = kernel
        self._resource = resource
        name, bit = resource.name, resource.bit
        self._get = Operation(GET, resource, reads=bit, detail=name)
        self._set = Operation(SET, resource, writes=bit, detail=name)
        self._add = Operation(ADD, resource, writes=bit, detail=name)
        self._swap = Operation(SWAP, resource, writes=bit, detail=name)

    def get(self) -> Any:
        """Read the value."""
        kernel = self._kernel
        kernel.step(self._get)
        value = self._resource.state
        if kernel.tracing:
            kernel.note(f"{self._resource.name} = {repr_of(value)}")
        return value

    def set(self, value: Any) -> None:
        """Write the value."""
        self._kernel.step(self._set)
        self._put(value)

    def add(self, number: Any) -> Any:
        """Add to the value in one step; return the old value."""
        self._kernel.step(self._add)
        old = self._resource.state
        self._put(old + number)
        return old

    def swap(self, value: Any) -> Any:
        """Replace the value in one step; return the old value."""
        self._kernel.step(self._swap)
        old = self._resource.state
        self._put(value)
        return old

    def compare_and_set(self, expected: Any, new: Any) -> bool:
        """Write `new` if the value equals `expected`, in one step; return whether it did. If not, the step only reads."""
        resource = self._resource
        self._kernel.step(Operation(COMPARE_AND_SET, resource, writes_when=lambda state: bool(state == expected), detail=resource.name))
        if resource.state == expected:
            self._put(new)
            return True
        self._kernel.note(f"{resource.name} stays {repr_of(resource.state)}: it is not {repr_of(expected)}")
        return False

    def wait_until(self, predicate: Callable[[Any], bool]) -> Any:
        """Wait until `predicate(value)` holds; return the value. The predicate must depend only on its argument."""
        resource = self._resource
        self._kernel.step(Operation(WAIT_UNTIL, resource, reads=resource.bit, enabled=lambda v: bool(predicate(v)), detail=resource.name))
        self._kernel.note(f"{resource.name} = {repr_of(resource.state)}")
        return resource.state

    def _put(self, value: Any) -> None:
        kernel = self._kernel
        if kernel.tracing:
            kernel.note(f"{self._resource.name}: {repr_of(self._resource.state)} -> {repr_of(value)}")
        kernel.put(self._resource, value)

    def __repr__(self) -> str:
        return f"<cell {self._resource.name}>"


class World:
    """One execution's world, the argument of the scenario function."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._cells: dict[str, Cell] = {}
        self._always: list[Check] = []
        self.checks_at_end: list[Check] = []
        self.promises: list[Promise] = []
        self.outcomes: list[Hashable] = []
        self._directory: str | None = None
        self.clock = VirtualClock(kernel)

    def shared(self, value: Any = None, name: str | None = None) -> Cell:
        """Return the cell called `name`, created with this value if it does not exist. Not a scheduling point."""
        if name is None:
            name = self._kernel.new_name("cell")
        cell = self._cells.get(name)
        if cell is None:
            cell = self._cells[name] = Cell(self._kernel, self._kernel.resource(f"cell {name}", value, name))
        return cell

    def template(self, build: Callable[[], T]) -> T:
        """Return what `build()` makes, which is called once for all executions: each gets it as it was when it was made.

        Raises:
            Misuse: set-up is over, or something cannot be put back: a running thread, an open file, a transaction.
        """
        made: T = give(self._kernel, build)
        return made

    def actor(self, name: str, work: Callable[..., Any], *arguments: Any, process: str | None = None) -> None:
        """Declare an actor that calls `work(*arguments)`. Its start is not a step, unless set-up has started a thread, which moves already.

        Args:
            process: actors of one process share its memory and die together; default: one process for all.

        Raises:
            Misuse: the name is taken, `work` cannot be called, or set-up is over.
        """
        if not callable(work):
            raise Misuse(f"{caller()}: world.actor({name!r}, …) needs a function to call, not {work!r}")
        if _is_async(work):
            work = partial(run_async, work)
        kernel = self._kernel
        if not _in_set_up(kernel):
            raise Misuse(f"{caller()}: declare actors before the first of them moves; an actor can start a threading.Thread")
        known = [each.process for each in kernel.cast.actors.values()]
        if kernel.faults is not None and not kernel.setting_up and (process or "main") not in known:
            raise Misuse(f"{caller()}: with faults, declare the first actor of process {process!r} before set-up starts a thread")
        actor = kernel.add_actor(name, partial(work, *arguments) if arguments else work, process=process or "main")
        if not kernel.setting_up:
            kernel.start(actor, Operation(START, writes=actor.bit, detail=name), lambda: None)

    def on_restart(self, process: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Declare what a process does when it is restarted after a crash: a new actor calls `work(*arguments)`.

        Its memory is gone: `work` opens its own connections and makes its own locks. It crashes again only if the budget allows.

        Raises:
            Misuse: no actor belongs to this process, or an actor has already moved.
        """
        kernel = self._kernel
        if not _in_set_up(kernel):
            raise Misuse(f"{caller()}: call world.on_restart in the scenario function, before any actor runs")
        processes = list(dict.fromkeys(actor.process for actor in (*kernel.cast.waiting, *kernel.cast.actors.values())))
        if process not in processes:
            known = ", ".join(processes) or "none yet"
            raise Misuse(f"{caller()}: no actor belongs to a process {process!r}; declare its actors first; processes: {known}")
        if inspect.iscoroutinefunction(work):
            work = partial(run_async, work)
        kernel.context.setdefault("restart", {})[process] = partial(work, *arguments) if arguments else work

    def handler(self, work: Callable[..., Any], *arguments: Any, on: str, times: int = 1) -> None:
        """Declare a function that may run at any point of an actor, inside its locks, as a signal's handler or a finaliser does.

        It runs at most `times` times in an execution; every place where it can run is explored. What it raises comes out of the operation
        that the actor was about to make.

        Args:
            on: the actor's name; a function that starts threads is "MainThread".
            times: 0 lets only the fault model allow it (`faults="handler=1"`).

        Raises:
            Misuse: there is no such actor, `work` cannot be called, or an actor has already moved.
        """
        kernel = self._kernel
        if not callable(work) or inspect.iscoroutinefunction(work):
            raise Misuse(f"{caller()}: world.handler needs a plain function to call, not {work!r}")
        if type(times) is not int or times < 0:
            raise Misuse(f"{caller()}: world.handler: times={times!r} must be a number, at least 0")
        if not kernel.setting_up:
            raise Misuse(f"{caller()}: call world.handler in the scenario function, before any actor runs")
        actors = {actor.name: actor for actor in (*kernel.cast.waiting, kernel.actor) if actor is not None}
        if on not in actors:
            raise Misuse(f"{caller()}: there is no actor {on!r}; declare it first; actors: {', '.join(actors) or 'none yet'}")
        name = getattr(work, "__name__", None) or type(work).__name__
        handle(kernel, actors[on], name, partial(work, *arguments) if arguments else work, times)

    def always(self, check: Check) -> Check:
        """Declare an invariant that holds in the initial state and after every step. Use as a decorator.

        The cells and tables that the check reads are recorded, and steps that write them are not reordered freely, so that
        reduction loses no state. What else it reads (attributes of plain objects) is seen only in the orderings explored.
        """
        self._always.append(_silent(check, "always"))
        self._kernel.watch(self.check_always)
        return check

    def eventually(self, check: Check, within: float) -> Check:
        """Declare what must hold at some moment within this many virtual seconds of the start or, if faults strike, of the last fault.

        Scheduling is fair. If the check never holds, the failure names the cycle of steps that repeats.

        Raises:
            Misuse: `within` is not a positive number of seconds.
        """
        if not within > 0:
            raise Misuse(f"{caller()}: world.eventually needs a positive number of seconds, not within={within!r}")
        self.promises.append(Promise(_silent(check, "eventually"), nanoseconds(within)))
        self._kernel.watch(self.check_always, fair=True)
        sees_time(self._kernel, by_all=True)
        return check

    def at_end(self, check: Check) -> Check:
        """Declare an invariant that holds when every actor has ended. Use as a decorator."""
        self.checks_at_end.append(_silent(check, "at_end"))
        return check

    def outcome(self, value: Hashable) -> None:
        """Record a result of this execution; `Result.outcomes` collects the values."""
        try:
            hash(value)
        except TypeError as error:
            raise Misuse(f"{caller()}: world.outcome needs a value that can be a member of a set: {error}") from None
        self.outcomes.append(value)

    def step(self, label: str, reads: Iterable[str] = (), writes: Iterable[str] = ()) -> None:
        """Make a scheduling point that reads and writes the named resources."""
        read, written = (_union(self._kernel.names.bit(f"user {name}") for name in names) for names in (reads, writes))
        self._kernel.step(Operation(STEP, reads=read, writes=written, detail=label))

    def choose(self, options: Sequence[T], label: str = "") -> T:
        """Return one of the options; all of them are explored."""
        if not options:
            raise Misuse(f"{caller()}: world.choose needs at least one option")
        kernel, actor = self._kernel, self._kernel.actor
        if kernel.tracing and actor is not None:
            kernel.context.setdefault(OPTIONS, {})[actor.index] = options
        taken = kernel.step(Operation(CHOOSE, options=len(options), detail=label))
        if kernel.tracing and actor is not None:
            del kernel.context[OPTIONS][actor.index]
        kernel.note(f"{label or 'chosen'}: {repr_of(options[taken])}")
        return options[taken]

    def assume(self, condition: object) -> None:
        """Leave out this execution unless the condition holds: a false one stops this actor forever, the others continue."""
        if not condition:
            never = self._kernel.resource("assume", False)
            self._kernel.step(Operation(ASSUME, never, enabled=bool))

    def timescale(self, seconds: float) -> None:
        """Declare that the code compares the clock with values that were read this long ago (a lease's time to live)."""
        self._kernel.clock.expires_after(nanoseconds(seconds))

    def show(self, name: str, value: Callable[[], object], until: Callable[[], float | None] | None = None) -> None:
        """Have timelines show `value()` after each step, under this name; it is not evaluated while exploring.

        Args:
            until: for a value that expires, such as the holder of a lease: `until()` is when it expires, in seconds as of `time.time()`,
                or None while it has no holder. Timelines draw such a value as a bar.
        """
        self._kernel.context.setdefault("shown", {})[name] = value, until

    def path(self, name: str) -> str:
        """Return the path of a file in this execution's own temporary folder, which is empty at the start."""
        if self._directory is None:
            self._directory = self._kernel.workspace.empty()
        return os.path.join(self._directory, name)

    def release(self) -> None:
        """Release the checks, whose closures hold this world, when the execution is over."""
        self._always.clear()
        self.promises.clear()
        self.checks_at_end.clear()

    def only_at_end(self, name: str | None) -> bool:
        """Whether checks of this name are evaluated only when every actor has ended."""
        return name in [name_of(check) for check in self.checks_at_end] and name not in [name_of(check) for check in self._always]

    def check_always(self) -> None:
        """Check what `always` declared, after a step."""
        kernel = self._kernel
        for check in self._always:
            try:
                kernel.learned.check_reads(kernel.inspect(check))
            except AssertionError as error:
                kernel.fail(error, check=name_of(check))
            except (SimharnessError, Stuck, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise broken_check(check, error) from error
        for promise in self.promises:
            try:
                promise.look(kernel)
            except (SimharnessError, Stuck, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise broken_check(promise.check, error) from error


def _is_async(work: Callable[..., Any]) -> bool:
    """Whether a function is declared with `async def`; plain functions, which most are, are asked at once."""
    if type(work) is FunctionType and not work.__dict__:
        return bool(work.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(work)


def _in_set_up(kernel: Kernel) -> bool:
    """Whether the scenario function is running; a thread that it has started makes it an actor."""
    return kernel.setting_up or (kernel.phase == RUNNING and getattr(kernel.actor, "name", "") == ROOT)


def name_of(check: Check) -> str:
    """Return the name of a check: its function's."""
    return str(getattr(check, "__name__", None) or type(check).__name__)


def _silent(check: Check, kind: str) -> Check:
    """Return a check under the same name that refuses an answer: a check that returns False instead of asserting would always hold.

    Raises:
        Misuse: `check` cannot be called.
    """
    if not callable(check):
        raise Misuse(f"{caller()}: world.{kind} needs a function to call, not {_named(check)}")

    name = name_of(check) if hasattr(check, "__name__") or kind != "eventually" else kind

    def ask() -> None:  # it must not refer to itself: the cycle would keep an execution's world until the next collection
        answer = check()
        if answer is not None:
            if type(answer) is CoroutineType:
                answer.close()  # or Python warns that it was never awaited
            raise Misuse(
                f"{_defined_at(check)}: check {name} returned {_named(answer)}; a check returns None when the invariant holds and "
                "raises AssertionError (assert …) when it does not"
            )

    ask.__name__ = name
    return ask


def _defined_at(check: Check) -> str:
    function = getattr(check, "__func__", check)
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return str(Place(code.co_filename, code.co_firstlineno, code.co_name)) if code is not None else "?"


def _named(value: object) -> str:
    """Return what to call a value, without running code of its class."""
    return repr(value) if type(value) in (bool, int, float, str) else f"a {type(value).__name__}"


def broken_check(check: Check, error: BaseException) -> SimharnessError:
    """Return the error for a check that raised something other than AssertionError."""
    place = last_place(error)
    if (lacking := scarcity(error)) is not None:
        return Lacking(f"{place or '?'}: {lacking}; check {name_of(check)} could not be made")
    said = " ".join(words_of(error).split())
    if said == "Cannot operate on a closed database.":
        said = "the database is closed (a process that crashes takes its connections with it: open one in the check)"
    return Misuse(
        f"{place or '?'}: check {name_of(check)} raised {type(error).__name__}{': ' if said else ''}{said}; "
        "a check returns when the invariant holds and raises AssertionError (assert …) when it does not"
    )


def _union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result
