"""A cache: databases that set-up makes are kept from one execution to the next, where the program cannot notice."""
