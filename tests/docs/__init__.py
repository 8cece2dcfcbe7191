"""Documentation that is run as it is written."""
