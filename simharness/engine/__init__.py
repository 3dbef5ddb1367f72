"""One execution on one OS thread: the same choices give the same run. Knows no runtime by name."""
