"""Neural networks behind the backends: how they are described, loaded, and how the small ones are trained."""
