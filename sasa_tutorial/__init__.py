"""Attention in vision, one mechanism at a time: the library behind the notebooks of the series."""

__version__ = "0.1.0"
