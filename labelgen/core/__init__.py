"""The words that all rooms speak: frames, records, taxonomies, settings, errors."""
