"""Bytes: local and object stores, publishing whole or not at all, bounded decoding, retries, safe paths."""
