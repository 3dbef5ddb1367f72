"""The kinds of accesses to a container, by which hooks, guards and locations name them."""

from __future__ import annotations

from array import array
from types import BuiltinFunctionType, MethodWrapperType
from typing import Any

IN_C: tuple[type, ...] = (BuiltinFunctionType, type(array("b").extend), MethodWrapperType)
"""Types of functions in C and bound methods in C; the second are those that ask for the class that defines them."""
READ, WRITE, REMOVE, ALL, WALK, BULK, ATTRIBUTE, ATTRIBUTES, DEEP = range(9)
"""An item is read, written or removed; all are read, iterated over, or changed; an attribute is read, or all; DEEP: all that is reached."""
Part = tuple[Any, int, Any]
"""(container, what is done, key); for DEEP the container is a `reach.Reached`."""
