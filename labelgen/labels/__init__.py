"""From regions with a meaning to points with a label."""

from labelgen.labels.vote import VoteSettings, vote

__all__ = ["VoteSettings", "vote"]
