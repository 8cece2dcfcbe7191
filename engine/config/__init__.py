"""What a setting is: how it is declared, read, found by name and laid over another one.

Nothing here knows a device, a tile or a command, so that all of them can use it."""
