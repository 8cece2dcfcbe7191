"""Optimizers that know analog tiles."""

from engine.optim.combined import AnalogOptimizer
from engine.optim.make import make_optimizer, settle_after_steps
from engine.optim.sgd import AnalogSGD, digital_parameters, pulsed_parameters

__all__ = [
    "AnalogOptimizer", "AnalogSGD", "digital_parameters", "make_optimizer", "pulsed_parameters", "settle_after_steps",
]  # fmt: skip
