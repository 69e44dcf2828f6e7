"""The run on disk: shards written once, published by manifests, read by frame or shard by shard."""

from labelgen.shards.compact import compact
from labelgen.shards.damage import DamageError, Problem
from labelgen.shards.frames import StoredFrame
from labelgen.shards.index import build_index, read_index
from labelgen.shards.manifest import FrameEntry, Manifest
from labelgen.shards.plan import merge_plan, read_plan
from labelgen.shards.reader import StoredRun
from labelgen.shards.resume import Progress, done_frames, resume
from labelgen.shards.run import Parent, RunInfo, create_run, read_run_info
from labelgen.shards.verify import verify
from labelgen.shards.writer import write_shard

__all__ = [
    "DamageError",
    "FrameEntry",
    "Manifest",
    "Parent",
    "Problem",
    "Progress",
    "RunInfo",
    "StoredFrame",
    "StoredRun",
    "build_index",
    "compact",
    "create_run",
    "done_frames",
    "merge_plan",
    "read_index",
    "read_plan",
    "read_run_info",
    "resume",
    "verify",
    "write_shard",
]
