"""From a configuration to a network and its optimizer: each layer analog or digital, as the
configuration says."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from engine.algorithms import find_algorithm
from engine.experiment.custom.check import check_output
from engine.experiment.data import IMAGES, Info
from engine.experiment.identity import device_models, is_device_file
from engine.experiment.members import find_member
from engine.jit.cpu import CompileError
from engine.memory import require_memory
from engine.readers.wording import first_line, unknown
from engine.settings import MachineError, UserError
from engine.trust.load import CodeError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from engine.tile.settings import TileSpec

Config = Mapping[str, Any]
PARTS = ("device", "algorithm", "tile")
KIND_KEYS = ("model", "name")
# Keys of a model that are no settings of its network.
NO_SETTING = ("name", "weights", "about", "source")
# A weight in floating point and its gradient; tiles need more.
DIGITAL_BYTES = 8
# Channels, height, width.
IMAGE_DIMS = 3
Made = TypeVar("Made")
ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "ReLU"}


@contextlib.contextmanager
def told_of(layer: str) -> Iterator[None]:
    """Settings that do not fit a layer's tiles are the user's, and are named with the layer. Raises
    UserError."""
    try:
        yield
    except MachineError:
        raise  # no setting of this layer is wrong
    except ValueError as problem:
        raise UserError(f"layer {layer}: {problem}") from problem


class Maker:
    """Makes the layers that a model asks for by name: `digital` ones are torch's, the others lie on
    tiles."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.made: dict[str, nn.Module] = {}
        self.analog = False

    def linear(
        self, name: str, columns: int, *, rows: int, bias: bool = True
    ) -> nn.Module:
        """A fully connected layer from `columns` inputs to `rows` outputs."""
        from torch import nn

        spec = self.spec(name)
        if spec is None:
            with told_of(name):
                what = f"a matrix of {rows} x {columns} weights"
                require_memory(DIGITAL_BYTES * columns * rows, what)
            return self._named(name, nn.Linear(columns, rows, bias))
        from engine.nn import AnalogLinear

        with told_of(name):
            return self._named(name, AnalogLinear(columns, rows, bias, tile=spec))

    def conv2d(
        self,
        name: str,
        channels: tuple[int, int],
        *,
        kernel_size: int,
        bias: bool = True,
        **window: int,
    ) -> nn.Module:
        """A convolution from `channels[0]` to `channels[1]` channels; `window` is torch's stride,
        padding, dilation."""
        from torch import nn

        spec = self.spec(name)
        if spec is None:
            digital = nn.Conv2d(*channels, kernel_size, bias=bias, **window)  # type: ignore[arg-type]
            return self._named(name, digital)
        from engine.nn import AnalogConv2d

        with told_of(name):
            return self._named(
                name,
                AnalogConv2d(*channels, kernel_size, bias=bias, tile=spec, **window),
            )

    def convert(self, module: nn.Module, name: str = "") -> nn.Module:
        """Torch's `module` with its layers on tiles where the configuration wants it; their names
        begin with `name`."""
        from torch import nn

        from engine.nn import Unconvertible, convert_to_analog

        whole = nn.ModuleDict({name: module}) if name else module
        asked: list[str] = []

        def choose(layer: str, _: nn.Module) -> TileSpec | None:
            asked.append(layer)
            return self.spec(layer)

        try:
            made: Any = convert_to_analog(whole, choose, inplace=True)
        except Unconvertible as problem:
            rules = ", ".join(
                f"{layer}: {{algorithm: digital}}" for layer in problem.layers
            )
            raise UserError(
                f"{problem.reason}; leave them digital with layers: {{{rules}}}"
            ) from None
        except UserError:
            raise
        except ValueError as problem:
            raise UserError(str(problem)) from problem
        for layer in asked:
            self._named(layer, made.get_submodule(layer))
        return made[name] if name else made

    def activation(self, name: str) -> nn.Module:
        """The activation of a name."""
        from torch import nn

        if name not in ACTIVATIONS:
            raise UserError(
                f"model.activation: must be one of {', '.join(ACTIVATIONS)}, not {name!r}"
            )
        return getattr(nn, ACTIVATIONS[name])()

    def output(self) -> nn.Module:
        """What follows the last layer: log-probabilities for the loss nll, nothing for the
        others."""
        from torch import nn

        return (
            nn.LogSoftmax(1) if self.config["loss"]["name"] == "nll" else nn.Identity()
        )

    def sequential(self, *layers: nn.Module) -> nn.Module:
        """The layers one after another."""
        from torch import nn

        if not self.analog:
            return nn.Sequential(*layers)
        from engine.nn import AnalogSequential

        return AnalogSequential(*layers)

    def _named(self, name: str, layer: nn.Module) -> nn.Module:
        self.made[name] = layer
        return layer

    def spec(self, name: str) -> TileSpec | None:
        """The tiles of a layer; None for a digital one. Raises UserError."""
        own = layer_config(self.config, name)
        if own["algorithm"].get("name") == "digital":
            return None
        from engine.tile.settings import TileSpec

        try:
            spec = TileSpec.from_config(own)
        except ValueError as problem:
            raise UserError(f"layer {name}: {problem}") from problem
        self.analog = True
        return spec


def check_names(config: Config, layers: Mapping[str, nn.Module]) -> None:
    """Raises UserError for settings of layers that the model does not have."""
    for name in config.get("layers") or {}:
        if not any(fnmatchcase(made, name) for made in layers):
            hint = unknown(name, layers, have="it has")
            raise UserError(
                f"layers: model {config['model']['name']} has no layer {name!r}; {hint}"
            )


def layer_config(config: Config, name: str) -> dict[str, Any]:
    """Device, algorithm and tile of one layer: the common ones with those of its name, or of
    patterns, over them.

    A rule of `layers` names a layer or is a pattern such as `layer4.*`; where several fit, later
    ones lie over earlier."""
    found = {part: config.get(part) or {} for part in PARTS}
    for pattern, own in (config.get("layers") or {}).items():
        if not fnmatchcase(name, pattern):
            continue
        for key in own or {}:
            if key not in PARTS:
                raise UserError(
                    f"layers.{pattern}: no key {key!r}; it has {', '.join(PARTS)}"
                )
        found = {
            part: _over(values, (own or {}).get(part) or {})
            for part, values in found.items()
        }
    return {part: dict(values) for part, values in found.items()}


def _over(base: Config, own: Any) -> dict[str, Any]:
    """`own` over `base`. Another model or algorithm replaces all: the old parameters mean
    nothing."""
    if isinstance(own, str):
        own = {"name": own}
    if any(key in own and own[key] != base.get(key) for key in KIND_KEYS):
        return dict(own)
    merged = dict(base)
    for key, value in own.items():
        nested = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = _over(base[key], value) if nested else value
    return merged


def build(
    config: Config, info: Info, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The network of `config` and its optimizer; what they draw comes from torch's generator,
    seeded by `run.seed`."""
    model, _ = network(config, info, device)
    return model, _optimizer(model, config["optimizer"])


def network(
    config: Config, info: Info, device: torch.device
) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The network of `config` and its layers by the names that `layers` gives settings for."""
    import torch

    torch.manual_seed(int(config["run"]["seed"]))
    make = Maker(config)
    try:
        model = _model(make, info)
    except CompileError as problem:
        if not any(is_device_file(name) for name in device_models(config)):
            raise
        raise UserError(
            f"the snippet of a device cannot be compiled: {problem.first}"
        ) from problem
    check_names(config, make.made)
    model.to(device)
    if make.analog and config["run"].get("exact"):
        from engine.nn import set_exact

        set_exact(model)
    return model, make.made


def check_size(config: Config, info: Info) -> None:
    """Raises UserError for a network that cannot fit into memory, before hours go by in allocating
    it."""
    import torch

    name = config["model"]["name"]
    try:
        with torch.device("meta"):
            model = _model(Maker(digital(config)), info)
        weights = sum(parameter.numel() for parameter in model.parameters())
    except CodeError:
        # Constructors of users compute with tensors, which those without content cannot do; what
        # else is wrong shows when the network is built.
        return
    except (RuntimeError, OverflowError, MemoryError) as problem:
        raise UserError(
            f"model {name} cannot be built: {first_line(problem)}"
        ) from problem
    require_memory(weights * DIGITAL_BYTES, f"model {name} with {weights:.3g} weights")


def examine(config: Config, info: Info) -> None:
    """Raises UserError for what would stop a run before its first step: a network that does not
    fit its samples, settings of layers that it lacks, tiles and an optimizer that do not go
    together. Builds the digital network only, so that no kernel is compiled."""
    import torch

    check_size(config, info)
    model, layers = network(digital(config), info, torch.device("cpu"))
    check_names(config, layers)
    check_output(config, model, info)
    pulsed = [
        name for name, layer in layers.items() if _check_tiles(config, name, layer)
    ]
    from engine.optim.make import plain_optimizer

    _told(plain_optimizer, model, config["optimizer"], pulsed)


def digital(config: Config) -> dict[str, Any]:
    """The configuration of the same network without tiles."""
    return {**config, "algorithm": {"name": "digital"}, "layers": {}}


def _check_tiles(config: Config, name: str, layer: nn.Module) -> bool:
    """Refuse tiles that cannot be built for a layer. Returns whether it learns by pulses."""
    from engine.nn.analog import check_tile
    from engine.nn.grid import split

    spec = Maker(config).spec(name)
    if spec is None:
        return False
    mapping = spec.mapping
    for weight in layer.parameters():
        if weight.dim() > 1:
            columns = weight[0].numel() + (not mapping.digital_bias)
            sizes = (
                split(
                    len(weight) // getattr(layer, "groups", 1), mapping.max_output_size
                ),
                split(columns, mapping.max_input_size),
            )
            with told_of(name):
                check_tile(spec, sizes[0][-1], sizes[1][-1])
    return not hasattr(find_algorithm(spec.algorithm.name), "product")


def _model(make: Maker, info: Info) -> nn.Module:
    settings = {
        key: value
        for key, value in make.config["model"].items()
        if key not in NO_SETTING
    }
    name = make.config["model"]["name"]
    member = find_member("models", name)
    _check_rows(name, member, info)
    # A network of the user's own code says by running what it takes.
    takes, given = getattr(member, "TAKES", IMAGES), info.kind
    if takes is not None and takes != given:
        dataset = make.config["dataset"]["name"]
        raise UserError(
            f"model {name} takes {takes}, dataset {dataset} holds {given}: choose another dataset or model"
        )
    if not hasattr(member, "arguments"):
        _check_settings(name, member.build, settings)
    return member.build(make, info, **settings)


def _check_rows(name: str, member: Any, info: Info) -> None:
    """Raises UserError for rows of numbers where a network takes images of channels."""
    rows = info.kind == IMAGES and len(info.shape) != IMAGE_DIMS
    if rows and not (
        getattr(member, "TAKES_ROWS", False) or hasattr(member, "arguments")
    ):
        shape = " x ".join(map(str, info.shape))
        raise UserError(
            f"model {name} takes images, the samples are rows of {shape} numbers: model=mlp takes them"
        )


def _check_settings(name: str, build: Callable[..., Any], settings: Config) -> None:
    """Raises UserError, with the nearest name, for a setting that `build` does not take."""
    parameters = inspect.signature(build).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for key in settings:
        if key not in known:
            hint = unknown(key, known, have="it has")
            raise UserError(f"model: {name} has no setting {key!r}; {hint}")


def _optimizer(model: nn.Module, settings: Config) -> torch.optim.Optimizer:
    """The optimizer of a configuration, with pulses where layers need them. Raises UserError."""
    from engine.optim import make_optimizer

    return _told(make_optimizer, model, settings)


def _told(make: Callable[..., Made], *arguments: Any) -> Made:
    """What `make` makes; settings that it refuses are the user's. Raises UserError."""
    try:
        return make(*arguments)
    except ValueError as problem:
        raise UserError(str(problem)) from problem
