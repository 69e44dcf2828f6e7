"""Offline pseudo-labels and 2D feature caches for LiDAR point clouds."""

__version__ = "0.1.0"
