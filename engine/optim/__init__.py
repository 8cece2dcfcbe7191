"""Optimizers that know analog tiles."""

from engine.optim.make import make_optimizer, settle_after_steps
from engine.optim.sgd import AnalogSGD

__all__ = ["AnalogSGD", "make_optimizer", "settle_after_steps"]
