"""Stepping by hand: the user picks the next move, forwards and backwards, on a terminal or line by line."""
