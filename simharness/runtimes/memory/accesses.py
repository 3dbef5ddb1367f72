"""What can be done to a container, as the hooks, the guards and the locations name it."""

from __future__ import annotations

from typing import Any

READ, WRITE, REMOVE, ALL, WALK, BULK, ATTRIBUTE = range(7)
"""What is done to a container: one item read, written or removed, all read, gone through, changed as a whole; an attribute read."""
Part = tuple[Any, int, Any]
"""(container, what is done, key)"""
