"""Datasets, one file each, found by path.

A member has `ABOUT` and `SOURCE`, `files(settings)`, which names the files that hold the data (or
raises UserError), and `load(settings)`, which reads them into a `Data`. A file that starts with an
underscore is no member."""
