"""The physics once more, slow and obvious, in NumPy's float32: what the kernels are held against,
bit by bit."""
