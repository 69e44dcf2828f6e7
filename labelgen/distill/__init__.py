"""The light trainer: distils a run's labels and features into a 3D network."""
