"""From regions with a meaning to points with a label; `labelgen.labels.vote` is the vote."""

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
    from labelgen.labels.evidence import hit_evidence
    from labelgen.labels.settings import VoteSettings
    from labelgen.labels.vote import class_evidence

__all__ = ["VoteSettings", "class_evidence", "hit_evidence"]

__getattr__ = loads(
    __name__,
    {
        "VoteSettings": "labelgen.labels.settings",
        "class_evidence": "labelgen.labels.vote",
        "hit_evidence": "labelgen.labels.evidence",
    },
)
