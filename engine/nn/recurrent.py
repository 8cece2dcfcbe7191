"""The recurrent layers on analog tiles: torch's RNN, LSTM and GRU with the same arguments.

Each adds the step of its cell to `engine.nn.sequences.Recurrent`, which holds the matrices and runs
over time. A conversion from torch's layer gives the same outputs on ideal tiles.

Shapes: B samples, H hidden, G rows of all gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.nn.sequences import NONLINEARITIES, Recurrent, Sizes, State
from engine.tile.settings import TileSpec


class AnalogRNN(Recurrent):
    """torch.nn.RNN on analog tiles: h' = tanh(W_ih x + W_hh h + b)."""

    digital, gates = nn.RNN, 1
    arguments = (*Recurrent.arguments[:3], "nonlinearity", *Recurrent.arguments[3:])

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes = Sizes(
            input_size,
            hidden_size,
            num_layers,
            nonlinearity,
            bias,
            batch_first,
            dropout,
            bidirectional,
        )
        self.build(sizes, tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        nonlinearity = NONLINEARITIES[self.sizes.nonlinearity]
        h = nonlinearity(given + self.from_state(part, state))
        return (h,)


class AnalogLSTM(Recurrent):
    """torch.nn.LSTM on analog tiles, with projections of the state as an option.

    i, f, g, o = W_ih x + W_hh h + b;  c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o)
    tanh(c')"""

    digital, gates, states = nn.LSTM, 4, 2
    arguments = (*Recurrent.arguments, "proj_size")

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes = Sizes(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            proj_size=proj_size,
        )
        self.build(sizes, tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        gates = given + self.from_state(part, state)
        i, f, g, o = gates.chunk(
            4, 1
        )  # input, forget, cell, output: torch's order of rows
        kept = torch.sigmoid(f) * state[1]
        c = kept + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        if self.sizes.proj_size:
            h = self.get_submodule(f"hr_{part}")(h)
        return h, c


class AnalogGRU(Recurrent):
    """torch.nn.GRU on analog tiles.

    r, z = sigmoid(W_ih x + W_hh h + b);  n = tanh(W_in x + b_in + r (W_hn h + b_hn));  h' = n + z
    (h - n)"""

    digital, gates = nn.GRU, 3

    def __init__(  # noqa: PLR0913
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        tile: TileSpec | str,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        sizes = Sizes(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        self.build(sizes, tile=tile, seed=seed)

    def advance(self, given: Tensor, state: State, part: str) -> State:
        # Reset, update, new: torch's order of rows. The state's share of the new values has a bias of
        # its own and is reset with it, so that the two shares cannot be added before.
        r, z, n = given.chunk(3, 1)
        r_state, z_state, n_state = self.from_state(part, state).chunk(3, 1)
        reset = torch.sigmoid(r + r_state)
        update = torch.sigmoid(z + z_state)
        n = torch.tanh(n + reset * n_state)
        h = n + update * (state[0] - n)
        return (h,)
