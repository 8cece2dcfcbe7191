"""From text to callable: the only place that knows a compiler, ctypes, CuPy or the CUDA driver."""
