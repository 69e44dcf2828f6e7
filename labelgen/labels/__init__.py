"""From regions with a meaning to points with a label."""

from labelgen.labels.evidence import hit_evidence
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import class_evidence, vote

__all__ = ["VoteSettings", "class_evidence", "hit_evidence", "vote"]
