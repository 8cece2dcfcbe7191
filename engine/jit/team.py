"""How many threads of a CPU a kernel takes, and how many torch.

Kernels measure whether a team of threads is worth its while, and work alone where it is not;
torch's own operations on small tensors cannot. So the two numbers may differ: where torch is left
one thread, kernels keep theirs."""

from __future__ import annotations


class _Team:
    """Threads of kernels (None: as many as torch has), and those that torch had before it was left
    one (None: it has them)."""

    kernels: int | None = None
    torch: int | None = None


def threads() -> int:
    """How many threads a kernel takes."""
    if _Team.kernels is not None:
        return _Team.kernels
    import torch

    return torch.get_num_threads()


def use_threads(count: int | None) -> None:
    """How many threads kernels take from now on; None for as many as torch."""
    _Team.kernels = count


def leave_torch_one() -> None:
    """Torch works alone from now on."""
    import torch

    _Team.torch = _Team.torch or torch.get_num_threads()
    torch.set_num_threads(1)


def restore() -> None:
    """Kernels and torch have the threads that torch had at first."""
    import torch

    if _Team.torch is not None:
        torch.set_num_threads(_Team.torch)
    forget()


def forget() -> None:
    """Whatever torch has now is right, and kernels take as many."""
    _Team.kernels = _Team.torch = None
