"""One execution of a cell with the runtimes in place, judged, and repeatable."""
