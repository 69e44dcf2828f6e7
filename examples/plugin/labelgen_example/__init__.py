"""Adds a region proposer, a semantic source, a data set and an export to labelgen."""
