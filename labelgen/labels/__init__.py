"""From regions with a meaning to points with a label."""
