"""Models, one file each, found by path.

A member has `ABOUT` and `SOURCE` and `build(make, info, *, settings...)`, which asks `make` for its
layers by name, so that the configuration decides whether each is analog or digital. A file that
starts with an underscore is no member."""
