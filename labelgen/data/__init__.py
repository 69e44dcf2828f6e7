"""Training data from the shards alone: random frames, or all of them shard by shard."""

from labelgen.data.collate import collate
from labelgen.data.dataset import LabelDataset
from labelgen.data.stream import ShardStream

__all__ = ["LabelDataset", "ShardStream", "collate"]
