"""3D networks behind one small interface; `labelgen.distill.registry` knows them by name."""

from labelgen.distill.backbones.base import Backbone

__all__ = ["Backbone"]
