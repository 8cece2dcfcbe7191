"""Measured figures of an independent implementation, measured again."""
