"""Refuses calls that no runtime controls: in a simulation they raise `Refused`, which names call and line, and end the exploration.

Both ends are guarded: the calls that users know (`subprocess.Popen`, `asyncio.run`), so that nothing is left half done, and
the calls beneath them (`fork_exec`, `epoll`), for modules that are imported later. Catching a refusal does not hide it: it
ends the exploration nevertheless. Where the user has said what the outside answers (`outside.py`), the call is answered instead. Outside a
simulation everything works as always.

A stub that the user has put in place of one of these functions or classes is left there.
"""

from __future__ import annotations

import _thread
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from types import BuiltinFunctionType, CoroutineType, FrameType, FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any, NamedTuple, NoReturn

from simharness.engine.interrupts import INTERRUPTS
from simharness.engine.kernel import Kernel, current
from simharness.errors import Refused
from simharness.places import callers, is_foreign, is_installed, place_of
from simharness.runtimes.outside import NETWORK, PROGRAMS, answer
from simharness.runtimes.patching import Patches
from simharness.runtimes.randomness import virtual_pid

_UVLOOP = "uvloop schedules in C: let asyncio's own loop run, by leaving out uvloop's policy, loops and uvloop.run"
_PROCESS = "a simulation is one process: declare the work as actors, world.actor(…, process=…), or put a stub in its place"
_PROGRAM = f"{_PROCESS}, or say programs='none'"
_EXIT = "it would end the exploration too: return from the actor, or raise SystemExit"
_IO = "real I/O cannot be scheduled: put a stub in its place"
_NETWORK = f"{_IO}, or say network='down'"
_SIGNAL = "real signals and timers cannot be scheduled: use a threading.Timer, or an actor that sleeps"
_THREAD = "only threads of the threading module are controlled: start a threading.Thread"
_GUEST = "there is no runtime for the loop that hosts it: call trio.run"


class Door(NamedTuple):
    """Attributes of a module, or of a class in it, that are refused, what to do instead (nothing: they are allowed), and what answers."""

    module: str
    owner: str
    names: tuple[str, ...]
    instead: str
    part: str = ""


_RECEIVE = ("accept", "bind", "listen", "recv", "recv_into", "recvfrom", "recvmsg")
_SEND = ("connect", "connect_ex", "send", "sendall", "sendmsg", "sendto")
_LOOKUPS = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")
_CHILDREN = ("fork", "forkpty", "killpg")
_PROGRAMS = ("system", "posix_spawn", "posix_spawnp", "execv", "execve", "wait", "waitpid")

METHODS = (
    Door("concurrent.futures.process", "ProcessPoolExecutor", ("__init__", "submit"), _PROCESS),
    Door("multiprocessing.managers", "BaseManager", ("start", "connect"), _PROCESS),
    Door("multiprocessing.pool", "Pool", ("__init__", "_check_running"), _PROCESS),
    Door("multiprocessing.process", "BaseProcess", ("start",), _PROCESS),
    Door("selectors", "DevpollSelector", ("select",), _IO),
    Door("selectors", "EpollSelector", ("select",), _IO),
    Door("selectors", "KqueueSelector", ("select",), _IO),
    Door("selectors", "PollSelector", ("select",), _IO),
    Door("selectors", "SelectSelector", ("select",), _IO),
    Door("socket", "socket", ("__init__", *_RECEIVE, *_SEND), _NETWORK, NETWORK),
    Door("uvloop", "Loop", ("__init__",), _UVLOOP),
    Door("subprocess", "Popen", ("__init__", "communicate", "wait"), _PROGRAM, PROGRAMS),
)
FUNCTIONS = (
    Door("_multiprocessing", "", ("SemLock",), _PROCESS),
    Door("_posixsubprocess", "", ("fork_exec",), _PROGRAM, PROGRAMS),
    Door("_thread", "", ("start_new_thread", "start_new", "start_joinable_thread"), _THREAD),
    Door("os", "", _CHILDREN, _PROCESS),
    Door("os", "", _PROGRAMS, _PROGRAM, PROGRAMS),
    Door("os", "", ("_exit", "abort"), _EXIT),
    Door("select", "", ("select", "poll", "epoll", "kqueue"), _IO),
    Door("signal", "", ("alarm", "setitimer", "pause", "sigwait", "sigwaitinfo", "sigtimedwait", "pthread_kill"), _SIGNAL),
    Door("shutil", "", ("which",), "", PROGRAMS),
    Door("socket", "", _LOOKUPS, _NETWORK, NETWORK),
    Door("socket", "", ("socketpair",), _IO),
    Door("uvloop", "", ("run", "new_event_loop"), _UVLOOP),
    Door("trio", "", ("open_signal_receiver",), _SIGNAL),
    Door("trio", "", ("run_process",), _PROCESS),
    Door("trio.lowlevel", "", ("open_process",), _PROCESS),
    Door("trio.lowlevel", "", ("start_guest_run",), _GUEST),
)
_ALWAYS = ("shutil", "_multiprocessing", "_posixsubprocess", "_thread", "select", "signal", "socket", "subprocess")
"""Modules to load, because they cost little and a later import of them would escape; the others lead to these."""
_INERT = {"multiprocessing.pool.Pool": ("_state", "CLOSE")}
"""The attributes that the finalisers of these classes read, for objects whose construction was refused."""


class Refusal:
    """Stands in for a function, or a class written in C: refuses in a simulation and delegates outside it.

    An object with slots, because `Patches.everywhere` would replace the original in a closure's cell too.
    """

    __slots__ = ("__name__", "called", "door", "genuine")

    def __init__(self, called: str, genuine: Any, door: Door) -> None:
        self.__name__ = called.rpartition(".")[2]
        self.called = called
        self.genuine = genuine
        self.door = door

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Answer, refuse or delegate."""
        kernel = current()
        if kernel is None:
            return self.genuine(*arguments, **options)
        given = answer(kernel, self.door.part, self.called, self.genuine)
        if given is None and not self.door.instead:
            given = self.genuine
        if given is None:
            refuse(kernel, self.called, self.door.instead, sys._getframe(1), arguments)
        return given(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.genuine, name)

    def __instancecheck__(self, thing: object) -> bool:
        return isinstance(thing, self.genuine)


def _method(called: str, genuine: Any, door: Door) -> Any:
    """Return the stand-in for a method: a function, which binds to instances."""

    def refused(*arguments: Any, **options: Any) -> Any:
        kernel = current()
        if kernel is None:
            return genuine(*arguments, **options)
        given = answer(kernel, door.part, called, genuine)
        if given is None:
            if called in _INERT:
                setattr(arguments[0], *_INERT[called])
            refuse(kernel, called, door.instead, sys._getframe(1), arguments)
        return given(*arguments, **options)

    refused.__name__ = called.rpartition(".")[2]
    return refused


def refuse(kernel: Kernel, called: str, instead: str, frame: FrameType, arguments: tuple[Any, ...] = ()) -> NoReturn:
    """Raise `Refused`.

    Args:
        called: the refused call; if the standard library made it, the error names the function that the user called.
        frame: of the caller.

    Raises:
        Refused: the kernel keeps it, too, so that catching it does not hide it.
    """
    outer: FrameType | None = frame
    door = None
    while outer is not None and is_foreign(outer.f_code.co_filename) and not _of_harness(outer):
        door, outer = outer, outer.f_back
    if door is not None:
        called = f"{door.f_globals.get('__name__')}.{door.f_code.co_qualname}".removesuffix(".__init__")
    for argument in arguments:
        if isinstance(argument, CoroutineType):
            argument.close()
    actor = kernel.actor.name if kernel.actor is not None else "a check"
    places = [place for place in callers(frame) if not is_installed(place.file)]
    inner = place_of(frame)
    where = places[0] if places else inner
    by = f" (by way of {inner.within_packages})" if inner is not None and inner != where else ""
    error = Refused(f"{where or 'code without a file'}{by}: {actor} called {called}, which a simulation refuses: {instead}")
    kernel.give_up(error)
    raise error


def _of_harness(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("simharness.")


def refuse_io(kernel: Kernel, called: str) -> NoReturn:
    """Raise `Refused` for real I/O that `called` asks for."""
    refuse(kernel, called, _IO, sys._getframe(1))


_BESIDES = {
    "socket": ("create_connection", "create_server", "gethostname", "getfqdn"),
    "subprocess": ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"),
    "urllib.request": ("urlopen", "urlretrieve"),
}
"""Functions that are not refused themselves, because they call what is, and that stubs replace."""


def stubbed() -> Iterator[tuple[str, dict[str, Any], list[str]]]:
    """Yield the modules in which stubs replace what is refused: the name, the variables, and their names."""
    names: dict[str, list[str]] = {}
    for door in (*METHODS, *FUNCTIONS):
        names.setdefault(door.module, []).extend([door.owner] if door.owner else door.names)
    for module, others in _BESIDES.items():
        names.setdefault(module, []).extend(others)
    for module, known in names.items():
        if module in sys.modules:
            yield module, vars(sys.modules[module]), known


# Other processes' life: virtual ids, so no real signals

_kill: Any = os.kill


def virtual_kill(pid: int, number: int, /) -> None:
    """Report whether a virtual process lives (signal 0); refuse real signals, which could hit an unrelated process with that id."""
    kernel = current()
    if kernel is None:
        _kill(pid, number)
        return
    if number != 0:
        refuse(kernel, "os.kill", _SIGNAL, sys._getframe(1))
    if pid != virtual_pid("main") and all(pid != virtual_pid(actor.process) for actor in kernel.cast.live):
        raise ProcessLookupError(3, "No such process")


_raise_signal: Any = signal.raise_signal
_interrupt_main: Any = _thread.interrupt_main


def virtual_raise_signal(number: int, /) -> None:
    """Send a signal to this process; in a simulation it is the code under test that interrupts itself."""
    with INTERRUPTS.expected() if current() is not None else nullcontext():
        _raise_signal(number)


def virtual_interrupt_main(*number: int) -> None:
    """Do the same, from another function."""
    with INTERRUPTS.expected() if current() is not None else nullcontext():
        _interrupt_main(*number)


def _class_of(door: Door) -> Any:
    """Return the genuine class of a door, also where a stub is in its place."""
    found = getattr(sys.modules.get(door.module), door.owner, None)
    if found is None or _is_class_of(found, door):
        return found
    waiting: list[type] = [object]
    while waiting:
        subclasses: list[type] = type.__subclasses__(waiting.pop())
        for cls in subclasses:
            if _is_class_of(cls, door):
                return cls
            if cls.__module__ in (door.module, f"_{door.module}"):
                waiting.append(cls)
    return None


def _is_class_of(thing: Any, door: Door) -> bool:
    return isinstance(thing, type) and thing.__module__ == door.module and thing.__qualname__ == door.owner


def _is_genuine(function: Any) -> bool:
    """Whether a function is not a stub of the user's: it is written in C, or in the standard library."""
    if isinstance(function, type):
        file = getattr(sys.modules.get(function.__module__), "__file__", None)
        return file is None or is_foreign(file)
    if isinstance(function, FunctionType):
        return is_foreign(function.__code__.co_filename)
    return isinstance(function, BuiltinFunctionType | WrapperDescriptorType | MethodDescriptorType)


def install(patches: Patches) -> None:
    """Plan the refusals, except of calls that another runtime has planned to replace."""
    for name in _ALWAYS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    for door in METHODS:
        owner = _class_of(door)
        for name in door.names:
            genuine = getattr(owner, name, None)
            if owner is not None and genuine is not None and _is_genuine(genuine):
                called = f"{door.module}.{door.owner}.{name}".removesuffix(".__init__")
                patches.attribute(owner, name, _method(called, genuine, door))
    for door in FUNCTIONS:
        module = sys.modules.get(door.module)
        for name in door.names:
            genuine = getattr(module, name, None)
            if genuine is not None and _is_genuine(genuine) and not patches.planned(genuine):
                patches.everywhere(genuine, Refusal(f"{door.module}.{name}", genuine, door))
    patches.everywhere(_kill, virtual_kill)
    patches.everywhere(_raise_signal, virtual_raise_signal)
    patches.everywhere(_interrupt_main, virtual_interrupt_main)
