"""Microscopes and their point spread functions, as differentiable PyTorch."""
