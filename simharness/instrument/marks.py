"""How an instrumented module is recognised: it has the hooks among its globals."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

HOOKS = "@simharness"


def is_instrumented(module: str) -> bool:
    """Whether the module of this name has been imported and announces its accesses."""
    imported = sys.modules.get(module)
    return imported is not None and announces(vars(imported))


def announces(space: Mapping[str, Any]) -> bool:
    """Whether the module of these globals has been rewritten and its accesses are announced."""
    hooks = space.get(HOOKS)
    return hooks is not None and hooks.ANNOUNCING
