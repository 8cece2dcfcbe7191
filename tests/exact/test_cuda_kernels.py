"""All kernels, of every device and of the products, compile for two GPUs and take the struct that
Python packs."""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any

import pytest

from engine.devices.base import device_names, find_device
from engine.inference.base import noise_model_names
from engine.inference.export import fusion_text
from engine.inference.text import noise_text
from engine.inference.wires import wires_text
from engine.jit import cuda, source
from engine.jit.pair import pair_text
from engine.jit.struct import read_struct
from engine.jit.unit import kernel_files

# Parameters that add cell constants and hidden state; together they give the largest kernels.
EVERYTHING = {
    "lifetime": 100.0,
    "diffusion": 0.01,
    "reset": 0.01,
    "drift_nu": 0.1,
    "write_noise_std": 0.1,
}


def transfer_text() -> str:
    """Arrays of two devices, both with all that they can have."""
    units = []
    for model in ("soft_bounds_reference", "linear_step"):
        device = find_device(model)
        wanted = {
            name: value for name, value in EVERYTHING.items() if name in device.params
        }
        units.append((model, source.layout(device, device.validate(wanted))))
    return pair_text(units[0], units[1], "cuda")


WITHOUT_DEVICE = {"products": source.mvm_text, "patches": source.patches_text,
                  "groups": source.group_text, "digital": source.digital_text,
                  "training": source.training_text, "transfers": transfer_text,
                  "rounds": source.rounds_text,
                  "reference of products": functools.partial(source.mvm_reference_text, "cuda"),
                  }  # fmt: skip
WITHOUT_DEVICE |= {
    f"noise {name}": functools.partial(noise_text, name) for name in noise_model_names()
}
WITHOUT_DEVICE |= {"wires": wires_text, "fusion": fusion_text}
UNITS = [*device_names(), *WITHOUT_DEVICE]


def text(model: str, **wanted: Any) -> str:
    """A whole translation unit: one that knows no device, or of a device with the wanted parameters
    that it has."""
    if model in WITHOUT_DEVICE:
        return WITHOUT_DEVICE[model]()
    device = find_device(model)
    values = device.validate(
        {name: value for name, value in wanted.items() if name in device.params}
    )
    return source.device_text(model, source.layout(device, values), "cuda")


def structs() -> dict[str, str]:
    """The header that declares each argument struct."""
    headers = {name: path.read_text() for name, path in kernel_files().items()}
    return {
        name: file
        for file, code in headers.items()
        for name in re.findall(r"^struct (\w+Args) \{", code, re.M)
    }


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("model", UNITS)
def test_everything_compiles(model: str, arch: str) -> None:
    assert cuda.compile(text(model, **EVERYTHING), arch).startswith(b"\x7fELF")


@pytest.mark.parametrize("model", UNITS)
def test_arguments_are_packed_as_the_gpu_reads_them(model: str) -> None:
    code = text(model, **EVERYTHING)
    declared = dict(
        re.findall(
            r"^(?:WARP_|BULK_|BUSY_|CROWDED_|BLOCK_)?KERNEL\((\w+), (\w+)", code, re.M
        )
    )
    ptx = cuda.compile(code, "compute_80").decode()
    kernels = re.findall(r"\.entry\s+(\w+)", ptx)
    assert kernels
    for kernel in kernels:
        packed = read_struct(structs()[declared[kernel]], declared[kernel])
        assert cuda.parameter_size(ptx, kernel) == (
            ctypes.sizeof(packed),
            ctypes.alignment(packed),
        ), kernel
        assert packed.items.offset == 0


@pytest.mark.parametrize("model", UNITS)
def test_no_arithmetic_is_approximate(model: str) -> None:
    ptx = cuda.compile(text(model), "compute_80").decode()
    assert not re.findall(r"\S*\.(?:ftz|approx)\S*", ptx)
    assert not re.findall(r"\b(?:atom|red)\.\S*f(?:32|64)", ptx)
