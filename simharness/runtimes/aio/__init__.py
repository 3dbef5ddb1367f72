"""asyncio: unmodified programs, whose tasks are actors; CPython's own loop runs, with its run queue, timers and waiting exchanged."""
