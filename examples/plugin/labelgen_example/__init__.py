"""Adds to labelgen: labelling, a data set, an export and training."""
