"""Functions, items and results into pickles, and out of them. See ../README.md."""
