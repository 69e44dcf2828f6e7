"""Losses of the trainer, each as its paper's equation says."""
