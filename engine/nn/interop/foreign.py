"""Layers that are to be put on tiles and were changed by something else: pruned, normalised,
quantized, of a class of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from engine.tile.inputs import fitting

MATRIX = 2
QUANTIZED = "torch.ao.nn."
# What holds a `weight` of several dimensions that no vector is multiplied with.
TABLES = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def name_of(layer: nn.Module) -> str:
    """The class of a layer that tiles cannot hold, and what to do where there is a way."""
    name = type(layer).__name__
    if type(layer).__module__.startswith(QUANTIZED):
        return f"a quantized {name}: convert the network before it is quantized"
    if parametrize.is_parametrized(layer):
        how = "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
        return f"{name}: its weights are computed, {how} makes them plain"
    return name


def is_foreign(module: nn.Module) -> bool:
    """Whether a layer of an unknown class has a weight matrix, or a quantized one: better named
    than silently left digital."""
    if type(module).__module__.startswith(QUANTIZED):
        return hasattr(module, "weight")
    weight = module._parameters.get("weight")
    if weight is None or nn.parameter.is_lazy(weight) or isinstance(module, TABLES):
        return False
    leaf = next(module.children(), None) is None
    return leaf and sum(size > 1 for size in weight.shape) >= MATRIX


def check_weights(layer: nn.Module, settings: Mapping[str, Any]) -> None:
    """Raises ValueError in a few words for weights that are not plain finite numbers under torch's
    own names, given the arguments of torch's layer."""
    with torch.device("meta"):
        usual = {name for name, _ in type(layer)(**settings).named_parameters()}
    found = dict(layer.named_parameters())
    if usual != set(found):
        extra = ", ".join(sorted(set(found) - usual)) or "nothing"
        raise ValueError(
            f"weights that are computed from {extra}: torch.nn.utils.prune.remove, remove_weight_norm "
            "or remove_spectral_norm makes them plain"
        )
    for name, parameter in found.items():
        try:
            fitting(parameter, parameter.shape, f"a {name} that")
        except (TypeError, ValueError) as problem:
            raise ValueError(str(problem)) from problem


def carry_hooks(source: nn.Module, target: nn.Module) -> None:
    """The hooks of a layer on the one that takes its place, with the same arguments and outputs."""
    for name in HOOKS:
        vars(target)[name].update(vars(source)[name])
    target._is_full_backward_hook = source._is_full_backward_hook
