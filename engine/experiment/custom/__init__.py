"""Networks and datasets of the user's own code, found by `path/to/file.py:Name` or
`package.module:Name`, in the form that the members of `models` and `datasets` have."""
