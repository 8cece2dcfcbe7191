"""What names a run, and what may change without renaming it."""
