"""Settings, weights and networks that come from other programs and go to them."""
