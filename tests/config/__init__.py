"""How settings are declared, read, found and laid over others."""
