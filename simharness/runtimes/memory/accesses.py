"""The kinds of accesses to a container, by which hooks, guards and locations name them."""

from __future__ import annotations

from typing import Any

READ, WRITE, REMOVE, ALL, WALK, BULK, ATTRIBUTE, ATTRIBUTES, DEEP = range(9)
"""An item is read, written or removed; all are read, iterated over, or changed; an attribute is read, or all; DEEP: all that is reached."""
Part = tuple[Any, int, Any]
"""(container, what is done, key); for DEEP the container is a `reach.Reached`."""
