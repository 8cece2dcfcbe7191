"""Files of the schema without figures, or with other parameters."""
