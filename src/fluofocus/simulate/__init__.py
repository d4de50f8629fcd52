"""Specimens, image formation and cameras, as PyTorch."""
