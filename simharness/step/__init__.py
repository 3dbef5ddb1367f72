"""Stepping by hand: somebody picks who moves next, forwards and backwards, on a terminal or line by line."""
