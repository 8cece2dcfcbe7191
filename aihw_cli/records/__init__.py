"""Recorded runs told to the user: lists, comparisons, figures."""
