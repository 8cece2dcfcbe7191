"""Recurrent networks on analog tiles: two matrices in a layer and direction, one for inputs and one
for the state.

Shapes: T time steps, B samples, I inputs, H hidden, G rows of all gates, D directions, N layers.
Packed sequences are [S, I]: the B' samples that are left at each time step, one step after the
other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from engine.nn.layer import AnalogLayer, Matrix
from engine.tile.inputs import check_plain
from engine.tile.settings import TileSpec

State = tuple[Tensor, ...]
LEAST = {"input_size": 1, "hidden_size": 1, "num_layers": 1, "proj_size": 0}
NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu}


@dataclass(frozen=True)
class Sizes:
    """The settings of a recurrent layer, as torch has them."""

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
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} at least, not {getattr(self, name)}")
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
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional",
    )  # fmt: skip
    gates: ClassVar[int]
    states: ClassVar[int] = 1
    sizes: Sizes

    def build(self, sizes: Sizes, *, tile: TileSpec | str, seed: int | None) -> None:
        """Makes the grids of all layers and directions."""
        self.sizes = sizes
        # Networks ask their layers for these when they make a first state.
        vars(self).update(asdict(sizes))
        bound, rows = sizes.hidden_size**-0.5, self.gates * sizes.hidden_size
        matrices = {}
        for part in sizes.parts:
            first = part.partition("_")[0] == "l0"
            inputs = sizes.input_size if first else sizes.state_size * sizes.directions
            for name, columns in ((f"ih_{part}", inputs), (f"hh_{part}", sizes.state_size)):
                matrices[name] = Matrix(
                    (rows, columns), f"weight_{name}", f"bias_{name}", bound, bound
                )
            if sizes.proj_size:
                shape = (sizes.proj_size, sizes.hidden_size)
                matrices[f"hr_{part}"] = Matrix(shape, f"weight_hr_{part}", "", bound, bound)
        self.place(matrices, bias=sizes.bias, tile=tile, seed=seed)

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        if isinstance(x, PackedSequence):
            return self._packed(x, state)
        self._check(x)
        lone, turned = x.dim() == 2, self.sizes.batch_first and x.dim() == 3
        values = x.to(torch.float32)
        values = values.unsqueeze(1) if lone else values.transpose(0, 1) if turned else values
        firsts = self._first_states(state, values, values.shape[1], lone=lone)
        values, last = self._layers(values, firsts, None)
        ends = tuple(torch.stack(parts).to(x.dtype) for parts in zip(*last, strict=True))
        y = values.squeeze(1) if lone else values.transpose(0, 1) if turned else values
        if lone:
            ends = tuple(end.squeeze(1) for end in ends)
        return y.to(x.dtype), ends if self.states > 1 else ends[0]

    def _packed(self, x: PackedSequence, state: Any) -> tuple[PackedSequence, Any]:
        """Samples of different lengths, the longest first; states come and go in the order of the
        user."""
        if x.data.dim() != 2 or x.data.shape[1] != self.sizes.input_size:
            wanted, found = f"[S, {self.sizes.input_size}]", list(x.data.shape)
            raise ValueError(f"{type(self).__name__} takes packed sequences {wanted}, not {found}")
        check_plain(x.data, type(self).__name__)
        left = x.batch_sizes.tolist()
        firsts = self._first_states(state, x.data, left[0], lone=False)
        if x.sorted_indices is not None:
            firsts = tuple(first.index_select(1, x.sorted_indices) for first in firsts)
        values, last = self._layers(x.data.to(torch.float32), firsts, left)
        ends = tuple(torch.stack(parts).to(x.data.dtype) for parts in zip(*last, strict=True))
        if x.unsorted_indices is not None:
            ends = tuple(end.index_select(1, x.unsorted_indices) for end in ends)
        y = PackedSequence(
            values.to(x.data.dtype), x.batch_sizes, x.sorted_indices, x.unsorted_indices
        )
        return y, ends if self.states > 1 else ends[0]

    def advance(self, given: Tensor, state: State, part: str) -> State:
        """The state after one time step; `given` [B, G] is what the inputs contribute."""
        raise NotImplementedError

    def flatten_parameters(self) -> None:
        """Nothing to do: torch's layers join their weights in memory here, tiles stay apart."""

    @classmethod
    def settings_of(cls, layer: Any) -> dict[str, Any]:
        return {name: getattr(layer, name) for name in cls.arguments}

    def digital_settings(self) -> dict[str, Any]:
        return {name: getattr(self.sizes, name) for name in self.arguments}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.digital_settings().items())

    def _check(self, x: Tensor) -> None:
        name, sizes = type(self).__name__, self.sizes
        time = 1 if sizes.batch_first and x.dim() == 3 else 0
        if x.dim() not in (2, 3) or x.shape[-1] != sizes.input_size or x.shape[time] == 0:
            axes = "B, T" if sizes.batch_first else "T, B"
            raise ValueError(
                f"{name} takes x [{axes}, {sizes.input_size}] with T >= 1, not {list(x.shape)}"
            )
        check_plain(x, name)

    def _first_states(self, state: Any, values: Tensor, batch: int, *, lone: bool) -> State:
        """Every state [N D, B, H] before the first step: the given ones, or 0."""
        sizes = self.sizes
        wide = (sizes.state_size, sizes.hidden_size)[: self.states]
        shapes = [(len(sizes.parts), batch, size) for size in wide]
        if state is None:
            return tuple(values.new_zeros(shape, dtype=torch.float32) for shape in shapes)
        given = tuple(state) if self.states > 1 else (state,)
        given = tuple(part.unsqueeze(1) if lone and part.dim() == 2 else part for part in given)
        if [tuple(part.shape) for part in given] != shapes:
            wanted, found = (
                ", ".join(str(list(s)) for s in many) for many in (shapes, [g.shape for g in given])
            )
            raise ValueError(f"{type(self).__name__} takes a first state {wanted}, not {found}")
        for part in given:
            check_plain(part, f"{type(self).__name__}, as its first state,")
        return tuple(part.to(torch.float32) for part in given)

    def _layers(
        self, values: Tensor, firsts: State, left: list[int] | None
    ) -> tuple[Tensor, list[State]]:
        """Outputs [T, B, D H] or [S, D H] of the last layer, and the last state of every layer and
        direction.

        `left` counts the samples of each time step where they are packed.
        """
        sizes, last = self.sizes, []
        for layer in range(sizes.num_layers):
            here = range(layer * sizes.directions, (layer + 1) * sizes.directions)
            ran = [
                self._run(sizes.parts[k], values, tuple(first[k] for first in firsts), left)
                for k in here
            ]
            values = torch.cat([outputs for outputs, _ in ran], -1) if len(ran) > 1 else ran[0][0]
            last += [end for _, end in ran]
            if sizes.dropout and layer < sizes.num_layers - 1:
                values = functional.dropout(values, sizes.dropout, self.training)
        return values, last

    def _run(
        self, part: str, values: Tensor, first: State, left: list[int] | None
    ) -> tuple[Tensor, State]:
        """One layer in one direction over all time steps."""
        read, back = self.get_submodule(f"ih_{part}")(values), part.endswith("_reverse")
        given = read.unbind(0) if left is None else read.split(left)
        start = given[-1 if back else 0].shape[0]
        state, outputs, ended = tuple(own[:start] for own in first), list[Tensor](), list[State]()
        for step in reversed(given) if back else given:
            have, now = state[0].shape[0], step.shape[0]
            if now > have:  # backwards in time, shorter sequences begin later
                state = tuple(
                    torch.cat([own, new[have:now]]) for own, new in zip(state, first, strict=True)
                )
            elif now < have:
                ended.append(tuple(own[now:] for own in state))
                state = tuple(own[:now] for own in state)
            state = self.advance(step, state, part)
            outputs.append(state[0])
        outputs = outputs[::-1] if back else outputs
        if ended:
            state = tuple(torch.cat(parts) for parts in zip(state, *reversed(ended), strict=True))
        return torch.stack(outputs) if left is None else torch.cat(outputs), state

    def _recalled(self, part: str, state: State) -> Tensor:
        """What the last state contributes to the gates [B, G]."""
        found: Tensor = self.get_submodule(f"hh_{part}")(state[0])
        return found


class AnalogRNN(Recurrent):
    """torch.nn.RNN on analog tiles: h' = tanh(W_ih x + W_hh h + b)."""

    digital, gates = nn.RNN, 1
    arguments = (*Recurrent.arguments[:3], "nonlinearity", *Recurrent.arguments[3:])

    def __init__(  # noqa: PLR0913, PLR0917
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rest = (nonlinearity, bias, batch_first, dropout, bidirectional)
        self.build(Sizes(input_size, hidden_size, num_layers, *rest), tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        return (NONLINEARITIES[self.sizes.nonlinearity](given + self._recalled(part, state)),)


class AnalogLSTM(Recurrent):
    """torch.nn.LSTM on analog tiles, with projections of the state as an option.

    i, f, g, o = W_ih x + W_hh h + b;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o)
    tanh(c')"""

    digital, gates, states = nn.LSTM, 4, 2
    arguments = (*Recurrent.arguments, "proj_size")

    def __init__(  # noqa: PLR0913, PLR0917
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rest = ("tanh", bias, batch_first, dropout, bidirectional, proj_size)
        self.build(Sizes(input_size, hidden_size, num_layers, *rest), tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        i, f, g, o = (given + self._recalled(part, state)).chunk(4, 1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (self.get_submodule(f"hr_{part}")(h) if self.sizes.proj_size else h), c


class AnalogGRU(Recurrent):
    """torch.nn.GRU on analog tiles.

    r, z = sigmoid(W_ih x + W_hh h + b);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h' = n + z
    (h - n)"""

    digital, gates = nn.GRU, 3

    def __init__(  # noqa: PLR0913
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, *, tile: TileSpec | str, seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        rest = ("tanh", bias, batch_first, dropout, bidirectional)
        self.build(Sizes(input_size, hidden_size, num_layers, *rest), tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        (r, z, n), (rh, zh, nh) = given.chunk(3, 1), self._recalled(part, state).chunk(3, 1)
        n = torch.tanh(n + torch.sigmoid(r + rh) * nh)
        return (n + torch.sigmoid(z + zh) * (state[0] - n),)
