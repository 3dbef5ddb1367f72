"""`threading`, `queue` and `concurrent.futures`: threads as actors, their primitives as steps."""
