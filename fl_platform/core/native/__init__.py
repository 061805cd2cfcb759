"""Compiled kernels for the CPU, built on first use; torch does the same work without them."""
