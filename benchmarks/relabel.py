"""Another taxonomy for one frame of real size: what each part of it costs the processor, on one core.

34,688 points, six images of 1600 x 900, 600 regions with features 512 wide, 200 words, and the votes' default
settings, all factors on. Milliseconds of the processor a frame:

- ``relabel``: all that is computed, at most 5. It is the sum of the next two.
- ``relabel_wall``: the same by the clock, with as many threads as the machine has cores; at most 5.
- ``scores``: the classes of all regions from their stored features.
- ``vote``: the votes of all points, from the stored hits, with the evidence of each view.
- ``read``, ``write``: the shards, decompression and checksums included; frames by the shard of 16.
- ``masks``: what is saved: looking the hits up in the masks, as for runs of before the hits were stored.
- ``hits``: kilobytes that the hits take; ``points_views``: with all else of points and views, at most 400.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
from harness import Claim, faster, score
from labels import default_vote, made_regions
from projection import our_frame

from labelgen.core.frame import Frame
from labelgen.core.records import FrameRecord, FrameStatus
from labelgen.core.taxonomy import load_taxonomy
from labelgen.engine.reclass import STORED, Relabel
from labelgen.geometry import ProjectionSettings, project, region_hits, view_region
from labelgen.labels.evidence import hit_evidence
from labelgen.labels.revote import Ballot
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import vote
from labelgen.runs import open_run
from labelgen.semantics.prompts import Vocabulary
from labelgen.shards import create_run, write_shard

WIDTH, WORDS, FRAMES = 512, 200, 16
TEST = ProjectionSettings()


def run(quick: bool) -> list[Claim]:
    rng = np.random.default_rng(0)
    settings = default_vote()
    frame, record = made_frame(rng, settings)
    operation = made_operation(rng, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        records = [replace(record, frame_id=f"{number:032x}") for number in range(FRAMES)]
        write(path, records)
        opened = open_run(path)
        stored = opened.frame(opened.frames[0]).record(masks=False)
        semantics = operation.classify(stored.semantics)
        changed = replace(stored, semantics=semantics)

        def voted(record: FrameRecord = changed) -> Ballot:
            return Ballot(record, frame.cameras, settings, TEST, keep_visible=True)

        def relabel() -> None:
            voted(replace(stored, semantics=operation.classify(stored.semantics))).labels()

        again = Ballot(stored, frame.cameras, settings, TEST, keep_visible=True).labels()
        functions: dict[str, Callable[[], object]] = {
            "scores": lambda: operation.classify(stored.semantics),
            "vote": lambda: voted().labels(),
            "masks": lambda: region_hits(record.views, record.regions, frame.cameras, settings.reach),
            "read": lambda: [opened.frame(name).record(masks=False) for name in opened.frames],
            "write": lambda: write(
                Path(tempfile.mkdtemp(dir=folder)),
                [replace(changed, frame_id=r.frame_id) for r in records],
                STORED,
            ),
        }
        times = harness.interleave(functions, seconds=8 if quick else 30, cpu_time=True)
        wall = harness.interleave({"relabel": relabel}, seconds=2 if quick else 8, threads=None)["relabel"]
        sizes = {name: entry.size / FRAMES / 1e3 for name, entry in opened.manifests[0].arrays.items()}
    assert record.hits is not None
    both = [a + b for a, b in zip(times["scores"], times["vote"], strict=True)]
    same = again.confidence.tobytes() == record.labels.confidence.tobytes()
    hits = sum(size for name, size in sizes.items() if "hit" in name)
    small = sum(size for name, size in sizes.items() if not name.startswith("regions/"))
    agreement = {"same labels": bool(same and np.array_equal(again.label, record.labels.label))}
    return [
        faster("relabel", both, None, goal=5.0, agreement=agreement, valid=agreement["same labels"]),
        faster("relabel_wall", wall, None, goal=5.0),
        *(faster(name, times[name], None, goal=None) for name in ("scores", "vote")),
        *(faster(name, [t / FRAMES for t in times[name]], None, goal=None) for name in ("read", "write")),
        faster("masks", times["masks"], None, goal=None),
        score(
            "hits",
            hits,
            goal=None,
            unit="KB/frame",
            agreement={"per view": len(record.hits.region) / len(record.views)},
        ),
        score("points_views", small, goal=400.0, unit="KB/frame", lower_is_better=True),
    ]


def made_frame(rng: np.random.Generator, settings: VoteSettings) -> tuple[Frame, FrameRecord]:
    """The frame of `projection` with the regions of `labels`, voted on."""
    frame, cloud = our_frame()
    views = project(frame, cloud, TEST)
    regions, semantics = made_regions()
    feature = rng.normal(size=(len(regions), WIDTH))
    feature /= np.linalg.norm(feature, axis=1, keepdims=True)
    semantics = replace(semantics, feature=feature.astype(np.float16))
    hits = region_hits(views, regions, frame.cameras, settings.reach)
    labels = vote(
        len(cloud),
        views,
        hits,
        regions,
        semantics,
        settings,
        np.ones(len(frame.cameras), bool),
        np.zeros(len(cloud), bool),
        hit_evidence(views, hits, semantics, frame.cameras, settings, TEST),
    )
    record = FrameRecord(
        frame_id="frame",
        scene_id="scene",
        timestamp_us=0,
        source_id="source",
        status=FrameStatus.OK,
        notes=(),
        source_hashes={},
        views=views,
        view_region=view_region(hits),
        regions=regions,
        semantics=semantics,
        labels=labels,
        hits=hits,
    )
    return frame, record


def made_operation(rng: np.random.Generator, settings: VoteSettings) -> Relabel:
    """Relabelling with words of no meaning, as many as the largest shipped taxonomy has."""
    taxonomy = load_taxonomy("nuscenes16")
    C = len(taxonomy)
    word = rng.normal(size=(WORDS, WIDTH))
    word /= np.linalg.norm(word, axis=1, keepdims=True)
    owner = np.sort(np.concatenate([np.arange(C + 1), rng.integers(0, C + 1, WORDS - C - 1)]))
    vocabulary = Vocabulary(C, word.astype(np.float32), owner.astype(np.int32))
    return Relabel(taxonomy, vocabulary, "", 0.01, "both", 0.06, settings, TEST)


def write(folder: Path, records: list[FrameRecord], only: tuple[str, ...] = ()) -> None:
    """A new run of one shard."""
    create_run(folder, fingerprint="benchmark", config={}, taxonomy={}, models=[])
    write_shard(folder, records, [], fingerprint="benchmark", only=only)


if __name__ == "__main__":
    harness.main("relabel", __doc__, run)
