"""What image regions mean: features, class scores."""

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
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

__getattr__ = loads(
    __name__,
    {
        "Captioner": "labelgen.semantics.base",
        "SemanticEncoder": "labelgen.semantics.base",
        "TextEncoder": "labelgen.semantics.base",
        "describe_captioner": "labelgen.semantics.registry",
        "describe_encoder": "labelgen.semantics.registry",
        "make_captioner": "labelgen.semantics.registry",
        "make_encoder": "labelgen.semantics.registry",
        "settle_semantics": "labelgen.semantics.registry",
    },
)
