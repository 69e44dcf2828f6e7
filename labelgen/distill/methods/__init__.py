"""Training methods; `labelgen.distill.registry` knows them by name."""

from labelgen.distill.methods.base import CacheInfo, Method

__all__ = ["CacheInfo", "Method"]
