"""What a kernel is doing: running actors, setting up, calling a check, or nothing."""

RUNNING, SETUP, INSPECTING, ENDED = range(4)
