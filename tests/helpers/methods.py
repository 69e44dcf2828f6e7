"""Our training methods by what they learn from."""

from labelgen.distill.registry import METHODS

PRETRAINING = sorted(name for name in METHODS.own() if METHODS[name].labels == "none")
