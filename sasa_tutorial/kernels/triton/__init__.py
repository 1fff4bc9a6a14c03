"""Local attention in Triton, for CUDA devices."""
