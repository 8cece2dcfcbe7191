"""What all layers on tiles share, and how they are found: one file a layer, like devices and
algorithms.

A layer says which matrices it has; `AnalogLayer` puts each on a grid of tiles, and reads and writes
the logical weights under the names, in the shapes and in the order of torch's layer. So a state of
`logical_weights()` is what torch's layer loads, and the reverse; conversion, checkpoints and export
rest on that."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
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
# Tensors that torch's layers have and these do not.
TORCH_TENSORS = ("weight", "bias", "in_proj_")


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a layer: its shape, its name and that of its bias, and how torch
    initialises both.

    Torch may keep several matrices in one parameter; here they have the same name, and lie there
    one after another. First weights are uniform within plus or minus `bound`, first biases within
    `bias_bound`; None = 1 / sqrt(inputs)."""

    shape: tuple[int, ...]
    weight: str = "weight"
    bias: str = "bias"
    bound: float | None = None
    bias_bound: float | None = None

    @property
    def inputs(self) -> int:
        """Columns of the matrix: a kernel of several axes counts as one row."""
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
        self,
        matrices: Mapping[str, Matrix],
        *,
        bias: bool,
        tile: TileSpec | str,
        seed: int | None,
    ) -> None:
        """Makes the grid of every matrix, a submodule of its name, and initialises it as torch
        does.

        `tile` may be the name of a preset. Raises UserError with the nearest name."""
        if isinstance(tile, str):
            tile = preset(tile)
        self.matrices = dict(matrices)
        seed = draw_seed(seed)
        for number, (name, matrix) in enumerate(self.matrices.items()):
            # Each grid has devices of its own. Seeds have 62 bits, as `draw_seed` makes them.
            grid_seed = seed
            if len(matrices) > 1:
                grid_seed = derive(seed, number) >> 2
            has_bias = bias and bool(matrix.bias)
            grid = TileGrid(
                matrix.shape[0],
                matrix.inputs,
                tile,
                bias=has_bias,
                seed=grid_seed,
            )
            grid.layer = type(self).__name__
            self.add_module(name, grid)
            # The bias is drawn in any case, so that torch.manual_seed gives the same weights with
            # and without one.
            weight, start_bias = start_weights(matrix, grid.room())
            grid.set_weights(weight, start_bias if has_bias else None)

    def set_weights(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Writes the logical weight, in the shape that torch's layer has, and the bias [O].

        A bias that is not given stays as it is. Raises ValueError or TypeError in one line, with
        nothing written, for another shape, a bias too many, or numbers that are not finite."""
        grid, matrix = self._single_grid()
        weight = fitting(weight, matrix.shape, "the weight")
        grid.set_weights(weight.view(matrix.shape[0], -1), bias)

    def get_weights(self) -> tuple[Tensor, Tensor | None]:
        """The logical weight, in the shape that torch's layer has, and the bias [O]."""
        grid, matrix = self._single_grid()
        weight, bias = grid.get_weights()
        return weight.reshape(matrix.shape), bias

    def logical_weights(self) -> dict[str, Tensor]:
        """The logical weights and biases, named, shaped and joined as in torch's layer."""
        found: dict[str, list[Tensor]] = {}
        for name, matrix in self.matrices.items():
            weight, bias = self._grid(name).get_weights()
            weight = weight.reshape(matrix.shape)
            found.setdefault(matrix.weight, []).append(weight)
            if bias is not None:
                found.setdefault(matrix.bias, []).append(bias)
        values = {}
        for name, parts in found.items():
            values[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
        for name, parameter in self.named_parameters(recurse=False):
            values[name] = parameter.data.clone()
        return values

    def set_logical_weights(self, values: Mapping[str, Tensor]) -> None:
        """Writes weights and biases that are named, shaped and joined as in torch's layer.

        Raises ValueError or TypeError in one line, with nothing written, for what does not fit."""
        logical = self.logical_weights()
        for name in sorted(set(logical) ^ set(values)):
            problem = (
                "is missing"
                if name in logical
                else f"is not one of {', '.join(logical)}"
            )
            raise ValueError(f"{type(self).__name__}: {name} {problem}")
        values = {
            name: fitting(values[name], old.shape, name)
            for name, old in logical.items()
        }

        # Where the next matrix begins in each parameter that several matrices share.
        ends: dict[str, int] = {}
        for name, matrix in self.matrices.items():
            rows = matrix.shape[0]
            first = ends.get(matrix.weight, 0)
            last = first + rows
            ends[matrix.weight] = last
            weight = values[matrix.weight][first:last].reshape(rows, -1)
            bias = values.get(matrix.bias)
            if bias is not None:
                bias = bias[first:last]
            self._grid(name).set_weights(weight, bias)
        for name, parameter in self.named_parameters(recurse=False):
            parameter.data.copy_(values[name])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith(TORCH_TENSORS):
                raise AttributeError(
                    f"{type(self).__name__} has no tensor {name!r}: its weights are cells of tiles "
                    "(get_weights(), logical_weights()); where a network takes weights out of its "
                    "layers, keep these digital with exclude=[...]"
                ) from None
            raise

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> AnalogLayer:
        # What `fn` does to a type shows on any tensor of it.
        probe = torch.empty(0, dtype=self.dtype)
        self.dtype = fn(probe).dtype
        return super()._apply(fn, recurse)

    def _grid(self, name: str) -> TileGrid:
        return self.get_submodule(name)  # type: ignore[return-value]

    def _single_grid(self) -> tuple[TileGrid, Matrix]:
        """The grid and the matrix of a layer with one. Raises ValueError for several."""
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
    if seed is not None:
        return seed
    drawn = torch.randint(2**62, (), device="cpu")
    return int(drawn.item())


def start_weights(matrix: Matrix, room: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """First weights [O, I] and bias [O] as torch draws them, on the CPU.

    The weights are drawn into `room` if it has their shape, which saves memory as large as the
    matrix."""
    out, inputs = matrix.shape[0], matrix.inputs
    default = 1 / math.sqrt(inputs)

    weight = room
    if weight is None or weight.shape != (out, inputs):
        weight = torch.empty(out, inputs, dtype=torch.float32)
    bound = default if matrix.bound is None else matrix.bound
    nn.init.uniform_(weight, -bound, bound)

    bias = torch.empty(out, dtype=torch.float32)
    bound = default if matrix.bias_bound is None else matrix.bias_bound
    bias.uniform_(-bound, bound)
    return weight, bias


def layer_types() -> list[type[AnalogLayer]]:
    """Every layer of this folder that stands for one of torch's, by name."""
    found: dict[str, type[AnalogLayer]] = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        module = importlib.import_module(f"engine.nn.{path.stem}")
        for layer in _layers_in(vars(module).values()):
            found[layer.__name__] = layer
    return [found[name] for name in sorted(found)]


def _layers_in(members: Iterable[Any]) -> list[type[AnalogLayer]]:
    """Layers among the members of a module. Those without a `digital` of their own are bases."""
    classes = [member for member in members if isinstance(member, type)]
    layers = [member for member in classes if issubclass(member, AnalogLayer)]
    return [layer for layer in layers if "digital" in vars(layer)]
