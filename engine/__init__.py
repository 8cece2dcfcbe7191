"""The engine of aihw: devices, crossbar tiles, learning algorithms, torch layers and
experiments."""
