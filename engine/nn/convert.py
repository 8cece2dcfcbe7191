"""Networks of torch layers to networks on tiles, and back."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from engine.nn.analog import analog_tiles
from engine.nn.layer import AnalogLayer, layer_types
from engine.tile.settings import TileSpec

Rule = TileSpec | None
Choice = TileSpec | Callable[[str, nn.Module], Rule]
# Layers with weight matrices of which there is no analog form here: better named than silently left out.
UNSUPPORTED = (nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.MultiheadAttention)


def convert_to_analog(
    module: nn.Module, tile: Choice, *, layers: Mapping[str, Rule] | None = None, exclude: Iterable[str] = ()
) -> nn.Module:
    """A copy of `module` whose Linear and Conv layers, with their weights, lie on tiles of the settings `tile`.

    `layers` gives single layers (`"fc3"`, `"block*.conv1"`) other settings, or None for a digital one; the last rule
    that fits counts. `tile` may also be a function of name and layer. `exclude` names layers, or whole parts of the
    network, that stay as they are. Raises ValueError in one line that names every layer that cannot be converted.
    """
    exclude, rules = list(exclude), dict(layers or {})
    found = copy.deepcopy(module)
    _check_names(found, [*exclude, *rules])
    chosen = {name: (layer, _rule(name, layer, tile, rules)) for name, layer in _walk(found, exclude)}
    chosen = {name: pair for name, pair in chosen.items() if pair[1] is not None}
    _refuse(found, {name: layer for name, (layer, _) in chosen.items()})
    kinds = {kind.digital: kind for kind in layer_types()}
    made = {id(layer): _analog(layer, kinds[type(layer)], rule) for layer, rule in chosen.values() if rule is not None}
    return _replaced(found, made)


def convert_to_digital(module: nn.Module) -> nn.Module:
    """A copy of `module` with torch's layers in the place of those on tiles; they hold the logical weights."""
    found = copy.deepcopy(module)
    return _replaced(found, {id(m): _digital(m) for m in found.modules() if isinstance(m, AnalogLayer)})


def _walk(module: nn.Module, exclude: Iterable[str], name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Layers with weight matrices below a module by their full names, without those excluded."""
    if name and any(fnmatchcase(name, pattern) for pattern in exclude):
        return
    if isinstance(module, UNSUPPORTED) or type(module) in {kind.digital for kind in layer_types()}:
        yield name or "module", module
        return
    if isinstance(module, AnalogLayer):
        return
    for child_name, child in module.named_children():
        yield from _walk(child, exclude, f"{name}.{child_name}" if name else child_name)


def _rule(name: str, layer: nn.Module, tile: Choice, rules: Mapping[str, Rule]) -> Rule:
    for pattern in reversed(list(rules)):
        if fnmatchcase(name, pattern):
            return rules[pattern]
    return tile if isinstance(tile, TileSpec) else tile(name, layer)


def _check_names(module: nn.Module, patterns: Iterable[str]) -> None:
    names = [name for name, _ in module.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 1)
            hint = f"nearest: {near[0]}" if near else f"there are {', '.join(names)}"
            raise ValueError(f"no layer is called {pattern!r}; {hint}")


def _refuse(module: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Raises ValueError that names every layer that tiles cannot hold, and why."""
    kinds = {kind.digital: kind for kind in layer_types()}
    owners: dict[int, set[int]] = {}
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(part))
    problems = {}
    for name, layer in layers.items():
        kind = kinds.get(type(layer))
        if kind is None:
            problems[name] = type(layer).__name__
            continue
        if any(len(owners[id(p)]) > 1 for p in layer.parameters(recurse=False)):
            problems[name] = f"{type(layer).__name__} whose weights another layer shares"
        try:
            kind.settings_of(layer)
        except ValueError as problem:
            problems[name] = f"{type(layer).__name__} with {problem}"
    if problems:
        told = ", ".join(f"{name} ({problem})" for name, problem in problems.items())
        raise ValueError(f"cannot be put on tiles: {told}; leave them digital with exclude={list(problems)}")


def _analog(layer: Any, kind: type[AnalogLayer], tile: TileSpec) -> AnalogLayer:
    made = kind(**kind.settings_of(layer), tile=tile)
    bias = None if layer.bias is None else layer.bias.detach().float().cpu()
    made.set_weights(layer.weight.detach().float().cpu(), bias)
    for part in analog_tiles(made):
        part.tile.weight.requires_grad_(layer.weight.requires_grad)
    if made.grid.bias is not None and layer.bias is not None:
        made.grid.bias.requires_grad_(layer.bias.requires_grad)
    return made.to(layer.weight.device).train(layer.training)


def _digital(layer: AnalogLayer) -> nn.Module:
    weight, bias = layer.get_weights()
    made: Any = layer.digital(**layer.digital_settings(), device=weight.device)
    made.weight.data.copy_(weight)
    if bias is not None:
        made.bias.data.copy_(bias)
    return made.train(layer.training)


def _replaced(module: nn.Module, made: Mapping[int, nn.Module]) -> nn.Module:
    """`module` with the layers of `made` in place of those with these ids, wherever they are used."""
    if id(module) in made:
        return made[id(module)]
    for part in list(module.modules()):
        for name, child in part._modules.items():
            if child is not None and id(child) in made:
                part._modules[name] = made[id(child)]
    return module
