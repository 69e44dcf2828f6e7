"""Training data from the shards alone: random frames, or all of them shard by shard or batch by batch."""

from labelgen.data.batches import BatchStream
from labelgen.data.collate import collate
from labelgen.data.dataset import LabelDataset
from labelgen.data.stream import ShardStream

__all__ = ["BatchStream", "LabelDataset", "ShardStream", "collate"]
