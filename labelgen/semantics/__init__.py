"""What image regions mean: features, class scores."""

from labelgen.semantics.base import (
    SemanticEncoder,
    TextEncoder,
    describe_encoder,
    make_encoder,
    settle_semantics,
)

__all__ = ["SemanticEncoder", "TextEncoder", "describe_encoder", "make_encoder", "settle_semantics"]
