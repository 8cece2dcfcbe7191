"""Torch faces: layers, patches, conversion, and how they behave as modules."""
