"""Learning algorithms against their formulas and their slow versions."""
