"""The state that outlives an execution: what hangs on instrumented modules, as it was at a baseline, and put back in place."""
