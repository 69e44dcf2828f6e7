"""What all rooms share: frames, records, taxonomies, settings, errors."""
