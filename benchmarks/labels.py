"""From points to labels, on one core: visibility beside nuscenes-devkit's projection, vote, instances.

Claims:
- ``views``: projection and the occlusion test, against the devkit's projection alone (it tests nothing); at
  least 10 times faster.
- ``vote_and_visibility``: milliseconds of the occlusion test and the default vote, its evidence included; at
  most 6.
- ``lookup``: milliseconds to find the regions under all views, and how far inside of them each lies.
- ``instances``: milliseconds to number the things.

The frame is that of `projection`; the regions are made: 100 ellipses a camera, about two over each point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import harness
import numpy as np
from projection import CHANNELS, SIZE, devkit, our_frame, projection

# Our side is imported where it is used: the devkit's process must not load what the devkit does not.
if TYPE_CHECKING:
    from labelgen.core.records import Regions, Semantics
    from labelgen.labels.settings import VoteSettings


def made_regions(classes: int = 16, each: int = 100) -> tuple[Regions, Semantics]:
    """Overlapping ellipses with random meanings."""
    from labelgen.core.records import Regions, Semantics
    from labelgen.geometry import rle

    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    codes = []
    for _ in range(len(CHANNELS) * each):
        cx, cy = rng.uniform(0, SIZE[0]), rng.uniform(SIZE[1] * 0.3, SIZE[1])
        rx, ry = rng.lognormal(4.2, 0.9, 2)
        codes.append(rle.encode(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1))
    area, box = rle.area_and_box(codes, SIZE[1], SIZE[0])
    K = len(codes)
    regions = Regions(
        camera=np.repeat(np.arange(len(CHANNELS), dtype=np.uint8), each),
        box_xyxy=box,
        area=area,
        score=rng.uniform(0.7, 1, K).astype(np.float16),
        stability=np.ones(K, np.float16),
        rle=tuple(codes),
    )
    scores = rng.dirichlet(np.full(classes + 1, 0.1), K)[:, :classes].astype(np.float16)
    return regions, Semantics(scores, scores.argmax(1).astype(np.uint8), np.zeros((K, 1), np.float16))


def default_vote() -> VoteSettings:
    """As a run without any settings votes."""
    from labelgen.labels.settings import VoteSettings

    return VoteSettings()


def views() -> Callable[[], object]:
    from labelgen.geometry import project

    frame, cloud = our_frame()
    return lambda: project(frame, cloud)


def views_and_vote() -> Callable[[], object]:
    from labelgen.geometry import ProjectionSettings, project, region_hits
    from labelgen.labels.evidence import hit_evidence
    from labelgen.labels.vote import vote

    frame, cloud = our_frame()
    regions, meaning = made_regions()
    settings, test = default_vote(), ProjectionSettings()
    hits = region_hits(project(frame, cloud), regions, frame.cameras, settings.reach)
    ok, ego = np.ones(len(frame.cameras), bool), np.zeros(len(cloud), bool)

    def both() -> object:
        found = project(frame, cloud, test)
        evidence = hit_evidence(found, hits, meaning, frame.cameras, settings, test)
        return vote(len(cloud), found, hits, regions, meaning, settings, ok, ego, evidence)

    return both


def lookup() -> Callable[[], object]:
    from labelgen.geometry import project, region_hits

    frame, cloud = our_frame()
    regions, _ = made_regions()
    found, reach = project(frame, cloud), default_vote().reach
    return lambda: region_hits(found, regions, frame.cameras, reach)


def instances() -> Callable[[], object]:
    from labelgen.geometry import project, region_hits
    from labelgen.labels.instances import find_instances
    from labelgen.labels.vote import vote

    frame, cloud = our_frame()
    regions, meaning = made_regions()
    found = project(frame, cloud)
    hits = region_hits(found, regions, frame.cameras)
    ok, ego = np.ones(len(frame.cameras), bool), np.zeros(len(cloud), bool)
    labels = vote(len(cloud), found, hits, regions, meaning, default_vote(), ok, ego)
    things = [number < 10 for number in range(16)]
    return lambda: find_instances(cloud.xyz, labels, found, hits, regions, meaning, things)


def run(quick: bool) -> list[harness.Claim]:
    """Time everything in turn, each in a process of its own."""
    times = harness.interleave_processes(
        {f.__name__: f for f in (devkit, projection, views, views_and_vote, lookup, instances)},
        seconds=15 if quick else 60,
        min_rounds=10,
        turn=0.02,
        cpu_time=True,
    )
    rest = [a - b for a, b in zip(times["views_and_vote"], times["projection"], strict=True)]
    return [
        harness.faster("views", times["views"], times["devkit"], goal=10),
        harness.faster("vote_and_visibility", rest, None, goal=6.0),
        harness.faster("lookup", times["lookup"], None, goal=None),
        harness.faster("instances", times["instances"], None, goal=None),
    ]


if __name__ == "__main__":
    harness.main("labels", __doc__, run)
