"""Several runs from one command: the points of a sweep or a search, one process a run, here or on a
cluster."""
