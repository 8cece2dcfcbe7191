"""Timings of this engine, alone or beside another simulator: `python -m benchmarks.run`."""
