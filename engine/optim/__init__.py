"""Optimizers that know analog tiles."""

from engine.optim.sgd import AnalogSGD

__all__ = ["AnalogSGD"]
