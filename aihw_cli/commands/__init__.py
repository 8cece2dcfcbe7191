"""The commands of `aihw`: each file has `COMMANDS`, a tuple of what it offers."""
