"""What every replaced primitive needs: a stable name, its state in the execution under way, and ways to declare its steps.

A primitive outlives executions: it may be made at import, in one execution, or outside any. Its *view* represents it in one
execution; views are made on first use and dropped when the next execution begins, so each starts fresh. The name of its
resource does not depend on the interleaving: a primitive made inside an execution is named after its maker and the line that
made it; one that existed before is named after the path to it (`simharness.runtimes.bindings`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Generic, TypeVar

from simharness.engine.actors import ROOT
from simharness.engine.clock import nanoseconds
from simharness.engine.kernel import Kernel
from simharness.engine.kinds import Family
from simharness.engine.operations import Operation, Resource
from simharness.engine.phases import INSPECTING, RUNNING
from simharness.places import is_foreign
from simharness.runtimes.bindings import Bindings
from simharness.runtimes.patching import Patches

VIEW = "_simharness_view"
OWN = Bindings.OWN
ATTACHED = "attached"
"""In a kernel's context, where processes have globals of their own: what detaches primitives that were made before, from the process that
has used them; each returns what attaches it again."""
BINDINGS = Bindings()
"""How what was made before is called; forgotten when the replacements are taken back."""
_OF_LOCKS = frozenset({"__weakref__", "_genuine", "_began"})
"""Slots of locks that do not belong to one execution."""
_foreign: dict[str, bool] = {}
_lines: dict[tuple[str, str, int], str] = {}


def made_here(kernel: Kernel, kind: str, depth: int = 2) -> tuple[str, str]:
    """Return a name and a label for something of this kind that the current actor makes now, `depth` frames up."""
    frame = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        foreign = _foreign.get(file)
        if foreign is None:
            foreign = _foreign[file] = is_foreign(file)
        if not foreign:
            line = (kind, file, frame.f_lineno)
            base = _lines.get(line)
            if base is None:
                base = _lines[line] = f"{kind} {file.rpartition('/')[2]}:{frame.f_lineno}"
            break
        frame = frame.f_back  # type: ignore[assignment]  # the loop ends there
    else:
        base = kind
    name = kernel.new_name(base)
    label, _, number = name.removeprefix(f"{ROOT}'s ").rpartition(" ")
    return name, label if number == "1" else f"{label} #{number}"


class View:
    """A primitive in one execution; `execution` is the kernel's resources, whose identity distinguishes executions."""

    family: Family

    def __init__(self, kernel: Kernel, owner: Any, name: str, label: str) -> None:
        self.execution = kernel.resources
        self.owner = owner
        self.name = name
        self.label = label


V = TypeVar("V", bound=View)


class Views(Generic[V]):
    """Finds or makes the view of instances of one patched class, which keep it in their `__dict__`."""

    def __init__(self, make: type[V]) -> None:
        self._make = make

    def born(self, kernel: Kernel, owner: Any, depth: int = 3) -> V:
        """Make the view of something that the current actor has just made."""
        name, label = made_here(kernel, self._make.family.name, depth)
        view = owner.__dict__[VIEW] = self._make(kernel, owner, name, label)
        return view

    def of(self, kernel: Kernel, owner: Any) -> V:
        """Return the view of `owner` in the execution under way."""
        view: V | None = owner.__dict__.get(VIEW)
        if view is None or view.execution is not kernel.resources:
            name = BINDINGS.name(kernel, owner, self._make.family.name)
            view = owner.__dict__[VIEW] = self._make(kernel, owner, name, name)
            kernel.context.setdefault(ATTACHED, []).append(lambda: _without_view(owner))
        return view


def attachable(kernel: Kernel, lock: Any) -> None:
    """A lock that was made before has its state in this execution: it can be taken away, for another process to have its own."""
    kernel.context.setdefault(ATTACHED, []).append(lambda: _without_state(lock))


def _without_state(lock: Any) -> Callable[[], None]:
    """Take the state of this execution from a lock; return what gives it back."""
    state = {name: getattr(lock, name) for cls in type(lock).__mro__ for name in vars(cls).get("__slots__", ()) if name not in _OF_LOCKS}
    lock._execution = None

    def again() -> None:
        for name, value in state.items():
            setattr(lock, name, value)

    return again


def _without_view(owner: Any) -> Callable[[], None] | None:
    """Take the view from a primitive; return what gives it back."""
    view = owner.__dict__.pop(VIEW, None)
    return None if view is None else lambda: owner.__dict__.__setitem__(VIEW, view)


def me(kernel: Kernel) -> str:
    """Return the name of the running code as the holder of locks."""
    actor = kernel.actor
    return actor.host.name if actor is not None and kernel.phase != INSPECTING else "a check"


def step_until(kernel: Kernel, operation: Operation, seconds: float) -> None:
    """Make a step that is given up after this many virtual seconds; in set-up and in checks, at once."""
    if kernel.phase != RUNNING and not kernel.dying:
        resource, enabled = operation.resource, operation.enabled
        if enabled is not None and resource is not None and not enabled(resource.state):
            if kernel.setting_up:
                kernel.clock.skip(nanoseconds(seconds))
            return
    kernel.step(operation, kernel.clock.now + max(0, nanoseconds(seconds)))


def took(kernel: Kernel, resource: Resource) -> None:
    """Note for reports that the current actor now holds a lock. Call only while tracing."""
    actor = kernel.actor
    if actor is not None and kernel.phase != INSPECTING:
        kernel.context.setdefault("held", {}).setdefault(actor.index, []).append(resource.name)


def gave_back(kernel: Kernel, resource: Resource) -> None:
    """Note for reports that a lock is free again, whichever actor held it. Call only while tracing."""
    if kernel.phase != INSPECTING:
        for names in kernel.context.get("held", {}).values():
            if resource.name in names:
                names.remove(resource.name)
                return


def replace(patches: Patches, owner: Any, replacements: Mapping[str, Any]) -> None:
    """Plan to replace attributes of a class; functions take the names of those they replace, since thread names show them."""
    for name, replacement in replacements.items():
        if isinstance(replacement, FunctionType):
            call_alike(replacement, getattr(owner, name))
        patches.attribute(owner, name, replacement)


def call_alike(replacement: Any, original: Any) -> None:
    """Give a replacement the names and the docstring of the original."""
    for name in ("__name__", "__qualname__", "__doc__"):
        setattr(replacement, name, getattr(original, name))
