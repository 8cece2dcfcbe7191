"""Which kernel an operation takes: one table for each operation."""
