"""Published figures: which there are, their runs, and what came of them."""
