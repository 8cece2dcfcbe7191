"""What others wrote: files, code and texts that may be a stranger's."""
