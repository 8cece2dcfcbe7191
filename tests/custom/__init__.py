"""Networks, datasets and training habits that users bring along."""
