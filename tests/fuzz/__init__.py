"""Inputs that were changed at random, always in the same way: whatever they hold, the program says
in a line what is wrong, or does what it was asked to."""
