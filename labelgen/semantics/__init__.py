"""What image regions mean: features, class scores."""
