"""Files that others wrote: what is read of them, and what is refused with the reason."""
