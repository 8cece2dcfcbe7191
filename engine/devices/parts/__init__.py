"""Parameters and snippets that families of devices share."""
