"""What a run needs before it starts: weights, and what this machine has."""
