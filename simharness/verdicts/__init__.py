"""Results, and counterexamples that are made short, explained and confirmed in a fresh process."""
