"""What composing a recipe needs beside Hydra: where members come from, and what `${key}` means."""
