"""The shipped small models: crops and captions of the city, and how each model is trained on them."""
