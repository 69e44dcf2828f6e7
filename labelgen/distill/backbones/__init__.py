"""3D networks behind one small interface."""
