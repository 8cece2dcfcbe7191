"""aihwkit and this engine: their words for the same things, and models carried both ways.

`aihw_cli/scripts/export_aihwkit.py` runs beside aihwkit and writes the file that is read here."""

from engine.exchange.aihwkit.network import load

__all__ = ["load"]
