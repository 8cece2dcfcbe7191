"""Arrays that are read into each other: how they are coupled, their state, two ways of a mini-batch
through them."""
