"""What all layers on tiles share, and how they are found: one file a layer, like devices and
algorithms."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.nn.grid import TileGrid
from engine.presets import preset
from engine.tile.inputs import fitting
from engine.tile.keys import derive
from engine.tile.settings import TileSpec

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a layer: its shape, its name and that of its bias, and its start in
    torch's layer.

    Torch may keep several matrices in one parameter; here they have the same name, and lie there
    one after another. A start is uniform within plus or minus `bound`, `bias_bound`; None = 1 /
    sqrt(inputs)."""

    shape: tuple[int, ...]
    weight: str = "weight"
    bias: str = "bias"
    bound: float | None = None
    bias_bound: float | None = None

    @property
    def inputs(self) -> int:
        return math.prod(self.shape[1:])


class AnalogLayer(nn.Module):
    """A layer whose weights are matrices on grids of tiles. `digital` is torch's layer of the same
    meaning."""

    digital: ClassVar[type[nn.Module]]
    # The type that `to()`, `half()` and the like asked for: biases have it, cells stay float32.
    dtype: torch.dtype = torch.float32
    grid: TileGrid
    matrices: dict[str, Matrix]

    def place(
        self, matrices: Mapping[str, Matrix], *, bias: bool, tile: TileSpec | str, seed: int | None
    ) -> None:
        """Makes the grid of every matrix under its name here, and starts it as torch starts its
        layers. `tile` may be the name of a preset. Raises UserError with the nearest name."""
        if isinstance(tile, str):
            tile = preset(tile)
        self.matrices = dict(matrices)
        seed = draw_seed(seed)
        for number, (name, matrix) in enumerate(self.matrices.items()):
            own = seed if len(matrices) == 1 else derive(seed, number) >> 2
            made = TileGrid(
                matrix.shape[0], matrix.inputs, tile, bias=bias and bool(matrix.bias), seed=own
            )
            made.layer = type(self).__name__
            self.add_module(name, made)
            weight, start_bias = start_weights(matrix, made.room())
            made.set_weights(weight, start_bias if bias and matrix.bias else None)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes the logical weight, in the shape that torch's layer has, and the bias [O].

        A bias that is not given stays as it is. Raises ValueError or TypeError in one line, with
        nothing written, for another shape, a bias too many, or numbers that are not finite."""
        grid, matrix = self._only()
        weight = fitting(weight, matrix.shape, "the weight")
        grid.set_weights(weight.view(matrix.shape[0], -1), bias)

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical weight, in the shape that torch's layer has, and the bias [O]."""
        grid, matrix = self._only()
        weight, bias = grid.get_weights()
        return weight.reshape(matrix.shape), bias

    def logical_weights(self) -> dict[str, Tensor]:
        """The logical weights and biases, named, shaped and joined as in torch's layer."""
        found: dict[str, list[Tensor]] = {}
        for name, matrix in self.matrices.items():
            weight, bias = self.get_submodule(name).get_weights()  # type: ignore[operator]
            found.setdefault(matrix.weight, []).append(weight.reshape(matrix.shape))
            if bias is not None:
                found.setdefault(matrix.bias, []).append(bias)
        own = {name: p.data.clone() for name, p in self.named_parameters(recurse=False)}
        return {
            name: torch.cat(parts) if len(parts) > 1 else parts[0] for name, parts in found.items()
        } | own

    def set_logical_weights(self, values: Mapping[str, Tensor]) -> None:
        """Writes weights and biases that are named, shaped and joined as in torch's layer.

        Raises ValueError or TypeError in one line, with nothing written, for what does not fit."""
        shapes = {name: value.shape for name, value in self.logical_weights().items()}
        for name in sorted(set(shapes) ^ set(values)):
            problem = "is missing" if name in shapes else f"is not one of {', '.join(shapes)}"
            raise ValueError(f"{type(self).__name__}: {name} {problem}")
        values = {name: fitting(values[name], shape, name) for name, shape in shapes.items()}
        ends: dict[str, int] = {}
        for name, matrix in self.matrices.items():
            first = ends.get(matrix.weight, 0)
            last = ends[matrix.weight] = first + matrix.shape[0]
            bias = values.get(matrix.bias)
            weight = values[matrix.weight][first:last].reshape(matrix.shape[0], -1)
            self.get_submodule(name).set_weights(weight, None if bias is None else bias[first:last])  # type: ignore[operator]
        for name, parameter in self.named_parameters(recurse=False):
            parameter.data.copy_(values[name])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith(("weight", "bias", "in_proj_")):
                raise AttributeError(
                    f"{type(self).__name__} has no tensor {name!r}: its weights are cells of tiles "
                    "(get_weights(), logical_weights()); where a network takes weights out of its "
                    "layers, keep these digital with exclude=[...]"
                ) from None
            raise

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AnalogLayer:
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return super()._apply(fn, recurse)

    def _only(self) -> tuple[TileGrid, Matrix]:
        if len(self.matrices) > 1:
            raise ValueError(
                f"{type(self).__name__} has {len(self.matrices)} matrices: take logical_weights()"
            )
        return self.grid, self.matrices["grid"]

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        """Arguments that make this layer in the place of torch's. Raises ValueError if tiles cannot
        do it."""
        raise NotImplementedError

    def digital_settings(self) -> dict[str, Any]:
        """Arguments that make torch's layer in the place of this one."""
        raise NotImplementedError


def draw_seed(seed: int | None) -> int:
    """The seed of a layer: given, or drawn from torch's generator, so that torch.manual_seed fixes
    everything."""
    return int(torch.randint(2**62, (), device="cpu").item()) if seed is None else seed


def start_weights(matrix: Matrix, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The first weights [O, I] and bias [O]; the weights are drawn into `room` if it has their
    shape."""
    out, inputs = matrix.shape[0], matrix.inputs
    fits = room is not None and room.shape == (out, inputs)
    usual = 1 / math.sqrt(inputs)
    bound, bias_bound = (usual if b is None else b for b in (matrix.bound, matrix.bias_bound))
    weight = room if room is not None and fits else torch.empty(out, inputs, dtype=torch.float32)
    nn.init.uniform_(weight, -bound, bound)
    return weight, torch.empty(out, dtype=torch.float32).uniform_(-bias_bound, bias_bound)


def layer_types() -> list[type[AnalogLayer]]:
    """Every layer of this folder that stands for one of torch's, by name."""
    found: dict[str, type[AnalogLayer]] = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        for member in vars(importlib.import_module(f"engine.nn.{path.stem}")).values():
            if (
                isinstance(member, type)
                and issubclass(member, AnalogLayer)
                and "digital" in vars(member)
            ):
                found[member.__name__] = member
    return [found[name] for name in sorted(found)]
