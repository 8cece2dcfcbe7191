"""Training, runs, checkpoints and data sets."""
