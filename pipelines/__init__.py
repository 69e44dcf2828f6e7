"""Recipes to read, copy and change; run by ``make``, not installed."""
