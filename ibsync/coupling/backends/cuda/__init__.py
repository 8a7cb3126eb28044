"""CUDA kernels: their text, their compilation, their launch, and the device they run on."""
