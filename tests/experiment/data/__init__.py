"""Data sets that need more than a file of images."""
