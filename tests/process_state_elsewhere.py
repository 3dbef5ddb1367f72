"""A module that is not instrumented, with a lock and what it guards: the processes of a scenario share its state."""

from __future__ import annotations

import threading

lock = threading.Lock()
ready = threading.Event()
