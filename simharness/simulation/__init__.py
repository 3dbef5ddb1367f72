"""One execution of a case with the runtimes in place, judged, and repeatable."""
