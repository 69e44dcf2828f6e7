"""What image regions mean: features, class scores."""

from labelgen.semantics.base import Captioner, SemanticEncoder, TextEncoder
from labelgen.semantics.registry import (
    describe_captioner,
    describe_encoder,
    make_captioner,
    make_encoder,
    settle_semantics,
)

__all__ = [
    "Captioner",
    "SemanticEncoder",
    "TextEncoder",
    "describe_captioner",
    "describe_encoder",
    "make_captioner",
    "make_encoder",
    "settle_semantics",
]
