"""What the city is built of: each function makes one thing from a random generator."""
