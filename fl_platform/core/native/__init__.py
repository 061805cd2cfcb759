"""Compiled kernels, built on first use; without them torch computes the same."""
