"""What recurrent layers on tiles share: their settings, their matrices, and the run over time.

`engine.nn.recurrent` has the three layers, each of which adds `advance`: one time step of its cell.
Every layer and direction has two matrices, one for inputs and one for the state. Outputs and states
are those of torch's layers of the same weights, up to the physics of the tiles.

Shapes: T time steps, B samples, I inputs, H hidden, G rows of all gates, D directions, N layers.
Packed sequences are [S, I]: the B' samples that are left at each time step, one step after the
other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from engine.nn.layer import AnalogLayer, Matrix
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

State = tuple[Tensor, ...]
MINIMA = {"input_size": 1, "hidden_size": 1, "num_layers": 1, "proj_size": 0}
# What torch calls the nonlinearities of its RNN.
NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu}


@dataclass(frozen=True)
class Sizes:
    """The settings of a recurrent layer, as torch has them. Raises ValueError for impossible
    ones."""

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0

    def __post_init__(self) -> None:
        for name, minimum in MINIMA.items():
            value = getattr(self, name)
            if value < minimum:
                raise ValueError(f"{name} must be {minimum} at least, not {value}")
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"proj_size must be below hidden_size ({self.hidden_size}), not {self.proj_size}"
            )
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be between 0 and 1, not {self.dropout:g}")
        if self.nonlinearity not in NONLINEARITIES:
            raise ValueError(
                f"nonlinearity must be one of {', '.join(NONLINEARITIES)}, not {self.nonlinearity!r}"
            )

    @property
    def state_size(self) -> int:
        """Size of what goes from one time step, and from one layer, to the next."""
        return self.proj_size or self.hidden_size

    @property
    def directions(self) -> int:
        """2 if sequences are read backwards as well."""
        return 2 if self.bidirectional else 1

    @property
    def parts(self) -> list[str]:
        """The ends of the names of every layer and direction: l0, l0_reverse, l1, ..."""
        ends = ("", "_reverse")[: self.directions]
        return [f"l{number}{end}" for number in range(self.num_layers) for end in ends]


class Recurrent(AnalogLayer):
    """x [T, B, I] (or [B, T, I] with batch_first, or [T, I]) and a first state give y [T, B, D H]
    and the last state.

    A PackedSequence gives a PackedSequence, and the state of each sample after its own last step.
    The inputs of all time steps are read in one call, the state step by step; no two reads share
    their noise."""

    arguments: ClassVar[tuple[str, ...]] = (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
    )
    gates: ClassVar[int]  # matrices [H, ..] that lie in one, one below the other
    states: ClassVar[int] = (
        1  # tensors of the state: the output, and what else a cell remembers
    )
    sizes: Sizes

    def build(self, sizes: Sizes, *, tile: TileSpec | str, seed: int | None) -> None:
        """Makes the grids of all layers and directions."""
        self.sizes = sizes
        # Networks ask their layers for these when they make a first state.
        vars(self).update(asdict(sizes))
        matrices: dict[str, Matrix] = {}
        for part in sizes.parts:
            matrices |= self._matrices_of(part, sizes)
        self.place(matrices, bias=sizes.bias, tile=tile, seed=seed)

    def _matrices_of(self, part: str, sizes: Sizes) -> dict[str, Matrix]:
        """The matrices of one layer and direction: for inputs, for the state, for a projection."""
        bound = sizes.hidden_size**-0.5
        rows = self.gates * sizes.hidden_size
        is_first = part.partition("_")[0] == "l0"
        inputs = sizes.input_size if is_first else sizes.state_size * sizes.directions

        def matrix(name: str, shape: tuple[int, int], bias: str) -> Matrix:
            return Matrix(
                shape,
                f"weight_{name}",
                bias,
                bound=bound,
                bias_bound=bound,
            )

        of_inputs, of_state, of_projection = f"ih_{part}", f"hh_{part}", f"hr_{part}"
        found = {
            of_inputs: matrix(of_inputs, (rows, inputs), f"bias_{of_inputs}"),
            of_state: matrix(of_state, (rows, sizes.state_size), f"bias_{of_state}"),
        }
        if sizes.proj_size:
            shape = (sizes.proj_size, sizes.hidden_size)
            found[of_projection] = matrix(
                of_projection, shape, ""
            )  # torch's has no bias either
        return found

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        if isinstance(x, PackedSequence):
            return self._packed(x, state)
        self._check(x)
        # One sequence without a batch, and batches before time, are brought to [T, B, I].
        unbatched = x.dim() == 2
        batch_first = self.sizes.batch_first and not unbatched
        values = x.to(torch.float32)
        if unbatched:
            values = values.unsqueeze(1)
        elif batch_first:
            values = values.transpose(0, 1)

        firsts = self._first_states(state, values, values.shape[1], unbatched=unbatched)
        y, lasts = self._layers(values, firsts, None)
        ends = self._joined(lasts, x.dtype)

        if unbatched:
            y = y.squeeze(1)
            ends = tuple(end.squeeze(1) for end in ends)
        elif batch_first:
            y = y.transpose(0, 1)
        return y.to(x.dtype), self._as_torch(ends)

    def _packed(self, x: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
        """Samples of different lengths, as torch packs them."""
        values = x.data
        if values.dim() != 2 or values.shape[1] != self.sizes.input_size:
            wanted = f"[S, {self.sizes.input_size}]"
            raise ValueError(
                f"{type(self).__name__} takes packed sequences {wanted}, not {list(values.shape)}"
            )
        check_plain(values, type(self).__name__)

        batch_sizes = x.batch_sizes.tolist()
        firsts = self._first_states(state, values, batch_sizes[0], unbatched=False)
        # Torch packs the longest sample first; states that come and go stand in the user's order.
        if x.sorted_indices is not None:
            firsts = tuple(first.index_select(1, x.sorted_indices) for first in firsts)

        y, lasts = self._layers(values.to(torch.float32), firsts, batch_sizes)
        ends = self._joined(lasts, values.dtype)
        if x.unsorted_indices is not None:
            ends = tuple(end.index_select(1, x.unsorted_indices) for end in ends)
        packed = PackedSequence(
            y.to(values.dtype),
            x.batch_sizes,
            x.sorted_indices,
            x.unsorted_indices,
        )
        return packed, self._as_torch(ends)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        """The state [B, H] after one time step; `given` [B, G] is what the inputs contribute."""
        raise NotImplementedError

    def flatten_parameters(self) -> None:
        """Does nothing: torch's layers join their weights in memory here, tiles stay apart."""

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        return {name: getattr(layer, name) for name in cls.arguments}

    def digital_settings(self) -> dict[str, Any]:
        return {name: getattr(self.sizes, name) for name in self.arguments}

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={value}" for name, value in self.digital_settings().items()
        )

    def _check(self, x: Tensor) -> None:
        """Raises ValueError or TypeError for an input of another shape or kind."""
        name = type(self).__name__
        batch_first = self.sizes.batch_first
        time = 1 if batch_first and x.dim() == 3 else 0
        size = self.sizes.input_size
        if x.dim() not in (2, 3) or x.shape[-1] != size or x.shape[time] == 0:
            axes = "B, T" if batch_first else "T, B"
            raise ValueError(
                f"{name} takes x [{axes}, {size}] with T >= 1, not {list(x.shape)}"
            )
        check_plain(x, name)

    def _first_states(
        self, state: Any, values: Tensor, batch: int, *, unbatched: bool
    ) -> State:
        """Every state [N D, B, H] before the first step: the given ones, or 0.

        Raises ValueError or TypeError for states of another shape or kind."""
        name = type(self).__name__
        sizes = (self.sizes.state_size, self.sizes.hidden_size)[: self.states]
        shapes = [(len(self.sizes.parts), batch, size) for size in sizes]
        if state is None:
            return tuple(
                values.new_zeros(shape, dtype=torch.float32) for shape in shapes
            )

        given = tuple(state) if self.states > 1 else (state,)
        if unbatched:
            given = tuple(
                part.unsqueeze(1) if part.dim() == 2 else part for part in given
            )
        found = [tuple(part.shape) for part in given]
        if found != shapes:
            raise ValueError(
                f"{name} takes a first state {_listed(shapes)}, not {_listed(found)}"
            )
        for part in given:
            check_plain(part, f"{name}, as its first state,")
        return tuple(part.to(torch.float32) for part in given)

    def _layers(
        self,
        values: Tensor,
        firsts: State,
        batch_sizes: list[int] | None,
    ) -> tuple[Tensor, list[State]]:
        """Outputs [T, B, D H] or [S, D H] of the last layer, and the last state of every layer and
        direction.

        `batch_sizes` counts the samples of each time step where they are packed."""
        sizes = self.sizes
        lasts: list[State] = []
        for layer in range(sizes.num_layers):
            outputs = []
            for direction in range(sizes.directions):
                k = layer * sizes.directions + direction
                first = tuple(state[k] for state in firsts)
                y, last = self._run(sizes.parts[k], values, first, batch_sizes)
                outputs.append(y)
                lasts.append(last)
            values = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            is_last = layer == sizes.num_layers - 1
            if (
                sizes.dropout and not is_last
            ):  # as torch: between layers, never after the last one
                values = functional.dropout(values, sizes.dropout, self.training)
        return values, lasts

    def _run(
        self,
        part: str,
        values: Tensor,
        first: State,
        batch_sizes: list[int] | None,
    ) -> tuple[Tensor, State]:
        """One layer in one direction over all time steps: its outputs and its last state."""
        backwards = part.endswith("_reverse")
        # Inputs are known in advance: one call reads them for all time steps.
        read = self.get_submodule(f"ih_{part}")(values)
        steps = read.unbind(0) if batch_sizes is None else read.split(batch_sizes)
        if backwards:
            steps = steps[::-1]

        state = tuple(tensor[: len(steps[0])] for tensor in first)
        outputs: list[Tensor] = []
        ended: list[State] = []
        for given in steps:
            before, now = len(state[0]), len(given)
            if now > before:
                # Backwards in time, shorter sequences begin later.
                joining = [tensor[before:now] for tensor in first]
                state = tuple(
                    torch.cat([old, new])
                    for old, new in zip(state, joining, strict=True)
                )
            elif now < before:
                # Forwards in time, shorter sequences end earlier: they keep this state.
                ended.append(tuple(tensor[now:] for tensor in state))
                state = tuple(tensor[:now] for tensor in state)
            state = self.advance(given, state, part)
            outputs.append(state[0])

        if backwards:
            outputs = outputs[::-1]
        if ended:
            # The shortest ended first and lie last: samples are sorted by their lengths.
            pieces = [state, *reversed(ended)]
            state = tuple(torch.cat(tensors) for tensors in zip(*pieces, strict=True))
        y = torch.stack(outputs) if batch_sizes is None else torch.cat(outputs)
        return y, state

    def _joined(self, lasts: list[State], dtype: torch.dtype) -> State:
        """The states of all layers and directions [N D, B, H], in the type of the inputs."""
        return tuple(torch.stack(parts).to(dtype) for parts in zip(*lasts, strict=True))

    def _as_torch(self, state: State) -> Any:
        """A state as torch's layer returns it: a tuple where it has several tensors."""
        return state if self.states > 1 else state[0]

    def from_state(self, part: str, state: State) -> Tensor:
        """What the last state contributes to the gates [B, G]."""
        read: Tensor = self.get_submodule(f"hh_{part}")(state[0])
        return read


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
