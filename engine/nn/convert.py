"""Networks of torch layers to networks on tiles, and back.

`convert_to_analog` finds the layers with weight matrices, decides for each which tiles it gets,
refuses what tiles cannot hold before anything changes, and puts analog layers in their places. The
logical weights, buffers, hooks, types, modes and `requires_grad` of the result equal those of the
original; so does the way back. Export, runs and users call both. `exchange_settings` goes both ways
and keeps the cells where it can."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from torch import nn

from engine.nn.analog import AnalogTile, analog_tiles
from engine.nn.interop.foreign import carry_hooks, check_weights, is_foreign, name_of
from engine.nn.layer import AnalogLayer, layer_types
from engine.tile.settings import TileSpec

# Settings, or the name of a preset; None keeps a layer digital.
Rule = TileSpec | str | None
Choice = TileSpec | str | Callable[[str, nn.Module], Rule]
# The analog form of a layer of the user's own class, made from the layer and its settings.
Maker = Callable[[nn.Module, TileSpec | str], nn.Module]
Classes = Mapping[type[nn.Module], Maker]
# Layers with weight matrices of which there may be no analog form here: better named than silently
# left digital.
UNSUPPORTED = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.Bilinear,
    nn.MultiheadAttention,
)


class Unconvertible(ValueError):
    """Layers that tiles cannot hold: their names, and the reason of each in one line."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.layers = list(problems)
        described = [f"{name} ({why})" for name, why in problems.items()]
        self.reason = "cannot be put on tiles: " + ", ".join(described)
        super().__init__(
            f"{self.reason}; leave them digital with exclude={self.layers}"
        )


def convert_to_analog(
    module: nn.Module,
    tile: Choice,
    *,
    layers: Mapping[str, Rule] | None = None,
    exclude: Iterable[str] = (),
    classes: Classes | None = None,
    inplace: bool = False,
) -> nn.Module:
    """A copy of `module` whose layers with weight matrices, and their weights, lie on tiles of the
    settings `tile`.

    `tile` may be the name of a preset, or a function of name and layer. With `inplace` it is
    `module` itself that changes. `layers` gives single layers (`"fc3"`, `"block*.conv1"`) other
    settings, or None for a digital one; the last rule that fits counts. `exclude` names layers, or
    whole parts of the network, that stay as they are. `classes` says for layer classes of one's
    own how their analog form is made of a layer and the settings of its tiles; it gets the layer's
    hooks and mode. Raises ValueError in one line that names every layer that cannot be
    converted."""
    exclude = list(exclude)
    rules = dict(layers or {})
    if inplace and _holds_weights(module):
        raise ValueError(
            f"a {type(module).__name__} alone cannot be converted in place: take what is returned"
        )
    _check_names(module, [*exclude, *rules])

    # Decided and checked on the original: nothing is copied for a network that is refused.
    chosen: dict[str, TileSpec | str] = {}
    originals: dict[str, nn.Module] = {}
    own = dict(classes or {})
    for name, layer in _weight_layers(module, exclude, own):
        rule = _rule_for(name, layer, tile, rules)
        if rule is not None:
            chosen[name] = rule
            originals[name] = layer
    _refuse_unsupported(
        module, {k: v for k, v in originals.items() if type(v) not in own}
    )

    found = module if inplace else _copied(module)
    copies = dict(_weight_layers(found, exclude, own))
    kinds = _analog_kinds()
    made: dict[int, nn.Module] = {}
    for name, rule in chosen.items():
        layer = copies[name]
        try:
            if type(layer) in own:
                made[id(layer)] = _made_by(own[type(layer)], layer, rule)
            else:
                made[id(layer)] = _analog(layer, kinds[type(layer)], rule)
        except ValueError as problem:
            raise ValueError(f"layer {name}: {problem}") from problem
    return _without_shortcuts(_replaced(found, made))


def convert_to_digital(module: nn.Module) -> nn.Module:
    """A copy of `module` with torch's layers in the place of those on tiles; they hold the logical
    weights."""
    found = copy.deepcopy(module)
    made: dict[int, nn.Module] = {}
    for layer in found.modules():
        if isinstance(layer, AnalogLayer):
            made[id(layer)] = _digital(layer)
    return _replaced(found, made)


def named_analog_layers(module: nn.Module) -> Iterator[tuple[str, AnalogLayer]]:
    """The layers on tiles below a module, or the module itself, with their names."""
    for name, layer in module.named_modules():
        if isinstance(layer, AnalogLayer):
            yield name, layer


def exchange_settings(
    module: nn.Module, tile: Choice, *, layers: Mapping[str, Rule] | None = None
) -> nn.Module:
    """A copy of a network on tiles whose layers on tiles have the settings `tile`, of which `layers`
    excepts some, as in `convert_to_analog`; digital layers stay digital.

    Where device, algorithm and mapping stay the same, so does every cell, buffer and scale: only the
    periphery around them is another. Where they change, the logical weights are written to new
    cells. Raises ValueError for settings that do not fit, with the layer's name."""
    names = {name for name, _ in named_analog_layers(module)}

    def chosen(name: str, layer: nn.Module) -> Rule:
        if name not in names:
            return None
        return tile(name, layer) if callable(tile) else tile

    made = convert_to_analog(convert_to_digital(module), chosen, layers=layers)
    _carry_cells(module, made)
    return made


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except RuntimeError as error:
        # Torch copies no tensor that was computed: such weights of a layer that stays digital.
        line = str(error).splitlines()[0]
        raise ValueError(
            f"the network cannot be copied ({line}): take inplace=True"
        ) from error


def _weight_layers(
    module: nn.Module,
    exclude: Iterable[str],
    own: Classes,
    name: str = "",
) -> Iterator[tuple[str, nn.Module]]:
    """Layers with weight matrices below a module by their full names, without those excluded.

    Layers inside such a layer, and those that are analog already, are left alone."""
    if name and any(fnmatchcase(name, pattern) for pattern in exclude):
        return
    if type(module) in own or _holds_weights(module):
        yield name or "module", module
        return
    if isinstance(module, AnalogLayer):
        return
    for child_name, child in module.named_children():
        full_name = f"{name}.{child_name}" if name else child_name
        yield from _weight_layers(child, exclude, own, full_name)


def _rule_for(
    name: str, layer: nn.Module, tile: Choice, rules: Mapping[str, Rule]
) -> Rule:
    """What the last rule that fits says of a layer, or else `tile`."""
    for pattern in reversed(list(rules)):
        if fnmatchcase(name, pattern):
            return rules[pattern]
    return tile if isinstance(tile, TileSpec | str) else tile(name, layer)


def _check_names(module: nn.Module, patterns: Iterable[str]) -> None:
    """Raises ValueError, with the nearest name, for a pattern that fits no layer."""
    names = [name for name, _ in module.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            near = difflib.get_close_matches(pattern, names, 1)
            hint = f"nearest: {near[0]}" if near else f"there are {', '.join(names)}"
            raise ValueError(f"no layer is called {pattern!r}; {hint}")


def _refuse_unsupported(module: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Raises Unconvertible that names every layer that tiles cannot hold, and why."""
    # Parameters by the modules that hold them: cells belong to one layer.
    owners: dict[int, set[int]] = {}
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(part))

    kinds = _analog_kinds()
    problems = {}
    for name, layer in layers.items():
        kind = kinds.get(type(layer))
        if kind is None:
            problems[name] = name_of(layer)
            continue
        parameters = layer.parameters(recurse=False)
        if any(len(owners[id(parameter)]) > 1 for parameter in parameters):
            problems[name] = (
                f"{type(layer).__name__} whose weights another layer shares"
            )
        try:
            check_weights(layer, kind.settings_of(layer))
        except ValueError as problem:
            problems[name] = f"{type(layer).__name__} with {problem}"
    if problems:
        raise Unconvertible(problems)


def _analog_kinds() -> dict[type[nn.Module], type[AnalogLayer]]:
    """The analog layer of each of torch's that has one."""
    return {kind.digital: kind for kind in layer_types()}


def _holds_weights(module: nn.Module) -> bool:
    """Whether a layer has weight matrices: of a class of torch, quantized, or of its own."""
    if isinstance(module, UNSUPPORTED):
        return True
    return type(module) in _analog_kinds() or is_foreign(module)


def _analog(
    layer: nn.Module, kind: type[AnalogLayer], tile: TileSpec | str
) -> AnalogLayer:
    """The analog form of a layer, with its weights, hooks, place in memory, type and mode."""
    made = kind(**kind.settings_of(layer), tile=tile)
    given = dict(layer.named_parameters())
    # Written on the CPU in float32, whatever the layer has; `to` below moves it.
    values = {
        name: parameter.detach().float().cpu() for name, parameter in given.items()
    }
    made.set_logical_weights(values)
    carry_hooks(layer, made)
    _copy_requires_grad(given, made)
    first = next(iter(given.values()))
    return made.to(device=first.device, dtype=first.dtype).train(layer.training)


def _made_by(maker: Maker, layer: nn.Module, tile: TileSpec | str) -> nn.Module:
    """What the user's function makes of a layer, with the layer's hooks and mode."""
    made = maker(layer, tile)
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"classes[{type(layer).__name__}] returned {type(made).__name__}, not a module"
        )
    carry_hooks(layer, made)
    return made.train(layer.training)


def _copy_requires_grad(given: Mapping[str, nn.Parameter], made: AnalogLayer) -> None:
    """Freezes what was frozen in the layer with the parameters `given`."""
    for name, matrix in made.matrices.items():
        grid = made.get_submodule(name)
        for part in analog_tiles(grid):
            part.tile.weight.requires_grad_(given[matrix.weight].requires_grad)
        if isinstance(grid.bias, nn.Parameter):
            grid.bias.requires_grad_(given[matrix.bias].requires_grad)
    for name, parameter in made.named_parameters(recurse=False):
        parameter.requires_grad_(given[name].requires_grad)


def _digital(layer: AnalogLayer) -> nn.Module:
    """Torch's form of an analog layer, with its logical weights, hooks, type and mode."""
    values = layer.logical_weights()
    device = next(iter(values.values())).device
    made = layer.digital(**layer.digital_settings())
    made.to(device=device, dtype=layer.dtype)
    made.load_state_dict(values)
    carry_hooks(layer, made)
    return made.train(layer.training)


def _without_shortcuts(module: nn.Module) -> nn.Module:
    """`module` with transformers that call their layers also in evaluation.

    Torch's take the weights out of their layers there and never call these, unless these settings
    look unusual."""
    for part in module.modules():
        if any(isinstance(inner, AnalogLayer) for inner in part.modules()):
            if isinstance(part, nn.TransformerEncoderLayer):
                part.activation_relu_or_gelu = 0
            if isinstance(part, nn.TransformerEncoder):
                part.use_nested_tensor = False
    return module


def _replaced(module: nn.Module, made: Mapping[int, nn.Module]) -> nn.Module:
    """`module` with the layers of `made` in place of those with these ids, wherever they are
    used."""
    if id(module) in made:
        return made[id(module)]
    for part in list(module.modules()):
        for name, child in part._modules.items():
            if child is not None and id(child) in made:
                part._modules[name] = made[id(child)]
    return module


def _carry_cells(old: nn.Module, new: nn.Module) -> None:
    """Loads the state of each tile of `old` into that of the same name, where the cells are of the
    same kind."""
    tiles = {n: part for n, part in old.named_modules() if isinstance(part, AnalogTile)}
    for name, part in new.named_modules():
        before = tiles.get(name)
        if not isinstance(part, AnalogTile) or before is None:
            continue
        if _cells_of(part) == _cells_of(before):
            part.load_state_dict(before.state_dict())


def _cells_of(part: AnalogTile) -> tuple[object, ...]:
    """What the cells of a tile, and the meaning of their states, follow from."""
    spec = part.tile.spec
    return spec.device, spec.algorithm, spec.mapping
