"""From regions with a meaning to points with a label."""

from labelgen.labels.evidence import hit_evidence
from labelgen.labels.vote import VoteSettings, class_evidence, vote

__all__ = ["VoteSettings", "class_evidence", "hit_evidence", "vote"]
