"""Known answers, hashes and bit-for-bit comparisons."""
