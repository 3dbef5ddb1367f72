"""Results, and counterexamples that are shortened, explained and confirmed in a fresh process."""
