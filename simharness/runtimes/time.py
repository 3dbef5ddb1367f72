"""Virtual time for the `time` and `datetime` modules.

In a simulation each reading of a clock, and each sleep, is a step; the value is the virtual one. The wall clock starts at
`clock.EPOCH`, the monotonic ones at `clock.BOOT`, CPU time at 0; one wall clock serves all processes, as on one machine, and each
process has a monotonic clock. Readings that `logging` and the standard library's own threading
code make for themselves are not steps, and the harness itself reads the real clocks. Conversions of a given time (`localtime(x)`,
`fromtimestamp(x)`) are left alone: the time zone is the machine's.

`datetime.datetime` and `datetime.date` are not replaced by other classes: `now`, `utcnow` and `today` are replaced *in* them.
So `type(x) is datetime` stays true, subclasses made before (`pendulum.DateTime`) are covered, and pickling, adapters and dispatch
tables keyed by the class know nothing of a simulation. The classes are C types that refuse assignment, hence `_Builtin`.
"""

from __future__ import annotations

import ctypes
import datetime as _datetime
import gc
import math
import operator
import sys
import time as _time
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType, MethodType
from typing import Any

from simharness.engine.clock import BOOT, SECOND, nanoseconds
from simharness.engine.clock_steps import read_clock, sees_time
from simharness.engine.clock_steps import sleep as _virtual_sleep
from simharness.engine.kernel import Kernel, current
from simharness.runtimes.patching import Patches

_QUIET = frozenset({"_threading_local", "asyncio", "concurrent", "logging", "queue", "random", "tempfile", "threading", "trio", "uuid"})
"""Top-level modules whose own readings of a clock are not steps."""
_REAL = frozenset({"hypothesis", "simharness"})
"""Top-level modules that read the real clocks."""

_sleep = _time.sleep
_wall_time = _time.time
_wall_time_ns = _time.time_ns
_monotonic = _time.monotonic
_monotonic_ns = _time.monotonic_ns
_perf_counter = _time.perf_counter
_perf_counter_ns = _time.perf_counter_ns
_process_time = _time.process_time
_process_time_ns = _time.process_time_ns
_thread_time = _time.thread_time
_thread_time_ns = _time.thread_time_ns
_localtime = _time.localtime
_gmtime = _time.gmtime
_ctime = _time.ctime
_asctime = _time.asctime
_strftime = _time.strftime
_clock_gettime: Any = getattr(_time, "clock_gettime", None)
_clock_gettime_ns: Any = getattr(_time, "clock_gettime_ns", None)

_date_today = _datetime.date.__dict__["today"]
_datetime_now = _datetime.datetime.__dict__["now"]
_datetime_utcnow = _datetime.datetime.__dict__["utcnow"]
_date_fromtimestamp = _datetime.date.__dict__["fromtimestamp"]
_datetime_fromtimestamp = _datetime.datetime.__dict__["fromtimestamp"]


def _wall(asker: FrameType) -> int | None:
    """Read the wall clock for the code of this frame, in nanoseconds since 1970; None when that code gets the real time."""
    kernel = _read(asker, True)
    return None if kernel is None else kernel.movers.wall()


def _steady(asker: FrameType) -> int | None:
    """Read the monotonic clock for the code of this frame, in nanoseconds; None when that code gets the real time."""
    kernel = _read(asker, False)
    return None if kernel is None else kernel.monotonic()


def _read(asker: FrameType, wall: bool) -> Kernel | None:
    """Read a clock for the code of this frame; return the kernel, or None when that code gets the real time."""
    kernel = current()
    if kernel is None:
        return None
    module = asker.f_globals.get("__name__")
    root = _roots.get(module)
    if root is None:
        root = _roots[module] = str(module).partition(".")[0]
    if root in _REAL:
        return None
    if root in _QUIET:
        sees_time(kernel)
        if root != "logging" and not kernel.setting_up:
            kernel.clock.ask()
    else:
        read_clock(kernel, wall)
    return kernel


_roots: dict[Any, str] = {}


# The time module. Names begin with `virtual_` because this module needs the real ones.


def virtual_sleep(seconds: float, /) -> None:
    """Wait in virtual time. In set-up no other actor can move, so the clock just advances."""
    kernel = current()
    if kernel is None:
        _sleep(seconds)
        return
    if not isinstance(seconds, float):
        seconds = operator.index(seconds)
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if kernel.setting_up:
        kernel.clock.skip(nanoseconds(seconds))
    else:
        _virtual_sleep(kernel, seconds)


def virtual_time() -> float:
    """Return the wall clock in seconds since 1970."""
    now = _wall(sys._getframe(1))
    return _wall_time() if now is None else now / SECOND


def virtual_time_ns() -> int:
    """Return the wall clock in nanoseconds since 1970."""
    now = _wall(sys._getframe(1))
    return _wall_time_ns() if now is None else now


def virtual_monotonic() -> float:
    """Return the monotonic clock in seconds."""
    now = _steady(sys._getframe(1))
    return _monotonic() if now is None else now / SECOND


def virtual_monotonic_ns() -> int:
    """Return the monotonic clock in nanoseconds."""
    now = _steady(sys._getframe(1))
    return _monotonic_ns() if now is None else now


def virtual_perf_counter() -> float:
    """Return the monotonic clock in seconds."""
    now = _steady(sys._getframe(1))
    return _perf_counter() if now is None else now / SECOND


def virtual_perf_counter_ns() -> int:
    """Return the monotonic clock in nanoseconds."""
    now = _steady(sys._getframe(1))
    return _perf_counter_ns() if now is None else now


def virtual_process_time() -> float:
    """Return the virtual time since the start of the execution: there is no CPU time in a simulation."""
    now = _steady(sys._getframe(1))
    return _process_time() if now is None else (now - BOOT) / SECOND


def virtual_process_time_ns() -> int:
    """Return the virtual nanoseconds since the start of the execution."""
    now = _steady(sys._getframe(1))
    return _process_time_ns() if now is None else now - BOOT


def virtual_thread_time() -> float:
    """Return the virtual time since the start of the execution."""
    now = _steady(sys._getframe(1))
    return _thread_time() if now is None else (now - BOOT) / SECOND


def virtual_thread_time_ns() -> int:
    """Return the virtual nanoseconds since the start of the execution."""
    now = _steady(sys._getframe(1))
    return _thread_time_ns() if now is None else now - BOOT


_CPU_CLOCKS = {getattr(_time, name, None) for name in ("CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID")}


def virtual_clock_gettime_ns(clock: int, /) -> int:
    """Return the clock with this number in nanoseconds; every clock that is neither wall nor CPU time is the monotonic one."""
    now = _numbered(clock, sys._getframe(1))
    return int(_clock_gettime_ns(clock)) if now is None else now


def virtual_clock_gettime(clock: int, /) -> float:
    """Return the clock with this number in seconds."""
    now = _numbered(clock, sys._getframe(1))
    return float(_clock_gettime(clock)) if now is None else now / SECOND


def _numbered(clock: int, asker: FrameType) -> int | None:
    if clock == getattr(_time, "CLOCK_REALTIME", None):
        return _wall(asker)
    now = _steady(asker)
    return now - BOOT if now is not None and clock in _CPU_CLOCKS else now


def virtual_localtime(seconds: float | None = None, /) -> _time.struct_time:
    """Convert seconds since 1970, by default the virtual wall clock, to local time."""
    if seconds is None:
        now = _wall(sys._getframe(1))
        return _localtime() if now is None else _localtime(now / SECOND)
    return _localtime(seconds)


def virtual_gmtime(seconds: float | None = None, /) -> _time.struct_time:
    """Convert seconds since 1970, by default the virtual wall clock, to UTC."""
    if seconds is None:
        now = _wall(sys._getframe(1))
        return _gmtime() if now is None else _gmtime(now / SECOND)
    return _gmtime(seconds)


def virtual_ctime(seconds: float | None = None, /) -> str:
    """Convert seconds since 1970, by default the virtual wall clock, to text."""
    if seconds is None:
        now = _wall(sys._getframe(1))
        return _ctime() if now is None else _ctime(now / SECOND)
    return _ctime(seconds)


def virtual_asctime(*parts: Any) -> str:
    """Convert local time, by default the virtual one, to text."""
    if parts:
        return _asctime(*parts)
    now = _wall(sys._getframe(1))
    return _asctime() if now is None else _asctime(_localtime(now / SECOND))


def virtual_strftime(form: str, /, *parts: Any) -> str:
    """Format local time, by default the virtual one."""
    if parts:
        return _strftime(form, *parts)
    now = _wall(sys._getframe(1))
    return _strftime(form) if now is None else _strftime(form, _localtime(now / SECOND))


# The datetime module


def virtual_now(cls: type[_datetime.datetime], tz: _datetime.tzinfo | None = None) -> Any:
    """Return the virtual wall clock as an object of this class, in local time or that of `tz`."""
    now = _wall(sys._getframe(1))
    if now is None:
        return _datetime_now.__get__(None, cls)(tz)
    return _datetime_fromtimestamp.__get__(None, cls)(now / SECOND, tz)


def virtual_utcnow(cls: type[_datetime.datetime]) -> Any:
    """Return the virtual wall clock as an object of this class, in UTC and naive."""
    now = _wall(sys._getframe(1))
    if now is None:
        return _datetime_utcnow.__get__(None, cls)()
    return _datetime_fromtimestamp.__get__(None, cls)(now / SECOND, _datetime.UTC).replace(tzinfo=None)


def virtual_today(cls: type[_datetime.date]) -> Any:
    """Return the virtual day, or for datetimes the virtual wall clock, in local time."""
    now = _wall(sys._getframe(1))
    if now is None:
        return _date_today.__get__(None, cls)()
    convert = _datetime_fromtimestamp if issubclass(cls, _datetime.datetime) else _date_fromtimestamp
    return convert.__get__(None, cls)(now / SECOND)


class _Builtin:
    """The attributes of a class written in C, which refuses assignment, as an object that `Patches.attribute` can work on.

    CPython keeps a class's attributes in a dictionary, which a mappingproxy hides and the garbage collector shows. After a change
    `PyType_Modified` makes the interpreter drop its cached look-ups.
    """

    __slots__ = ("_owner",)
    _owner: type

    def __init__(self, owner: type) -> None:
        object.__setattr__(self, "_owner", owner)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # `vars(self)` shows the class's
        attributes = gc.get_referents(self._owner.__dict__)[0]
        assert type(attributes) is dict
        return attributes

    def __setattr__(self, name: str, value: object) -> None:
        self.__dict__[name] = value
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(self._owner))


_METHODS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (_datetime.datetime, "now", virtual_now),
    (_datetime.datetime, "utcnow", virtual_utcnow),
    (_datetime.datetime, "today", virtual_today),
    (_datetime.date, "today", virtual_today),
)


def _bound_before() -> list[tuple[Any, Any]]:
    """Return the bound methods of the two classes that code has kept (`default_factory=datetime.now`), with their replacements."""
    replacements: dict[tuple[object, str], Callable[..., Any]] = {(owner, name): function for owner, name, function in _METHODS}
    return [
        (method, MethodType(replacements[method.__self__, method.__name__], method.__self__))
        for method in gc.get_referrers(_datetime.datetime, _datetime.date)
        if type(method) is BuiltinFunctionType and (method.__self__, method.__name__) in replacements
    ]


def install(patches: Patches) -> None:
    """Plan the replacement of every way to read a clock or to sleep that the two modules offer."""
    for original, replacement in (
        (_sleep, virtual_sleep),
        (_wall_time, virtual_time),
        (_wall_time_ns, virtual_time_ns),
        (_monotonic, virtual_monotonic),
        (_monotonic_ns, virtual_monotonic_ns),
        (_perf_counter, virtual_perf_counter),
        (_perf_counter_ns, virtual_perf_counter_ns),
        (_process_time, virtual_process_time),
        (_process_time_ns, virtual_process_time_ns),
        (_thread_time, virtual_thread_time),
        (_thread_time_ns, virtual_thread_time_ns),
        (_localtime, virtual_localtime),
        (_gmtime, virtual_gmtime),
        (_ctime, virtual_ctime),
        (_asctime, virtual_asctime),
        (_strftime, virtual_strftime),
        (_clock_gettime, virtual_clock_gettime),
        (_clock_gettime_ns, virtual_clock_gettime_ns),
    ):
        if original is not None:
            patches.everywhere(original, replacement)
    for bound, method in _bound_before():
        patches.everywhere(bound, method)
    for owner, name, function in _METHODS:
        if name in owner.__dict__:
            patches.attribute(_Builtin(owner), name, classmethod(function))
