"""The demo: the simulated city and the small models that are trained on it. Nothing else builds on it."""
