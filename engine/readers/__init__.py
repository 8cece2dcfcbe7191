"""Files that people and other programs write, read with limits: one reader for each format."""
