"""What a recipe says of a published figure, and whether recorded runs agree with it."""
