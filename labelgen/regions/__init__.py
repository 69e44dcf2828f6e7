"""Region proposals: which pixels of an image belong together."""
