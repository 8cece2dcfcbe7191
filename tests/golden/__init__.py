"""Re-measures a file of reference statistics with this engine and compares: `python -m tests.golden
REF [OUT]`."""
