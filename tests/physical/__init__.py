"""Response curves and published standard problems."""
