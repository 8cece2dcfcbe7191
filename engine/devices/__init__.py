"""Devices: how one cell of a crossbar reacts to one pulse. One file each, found by its name."""

from engine.devices._common import base_params
from engine.devices.base import Device, Param, device_names, find_device

__all__ = ["Device", "Param", "base_params", "device_names", "find_device"]
