"""What happens to a run beside its training: how it is taken up again, and how its end is
judged."""
