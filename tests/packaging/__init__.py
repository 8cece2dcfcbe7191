"""What is built, installed and kept in shape."""
