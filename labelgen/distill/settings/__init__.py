"""What can be set of a training's parts; without torch, as it is checked before a run is opened."""
