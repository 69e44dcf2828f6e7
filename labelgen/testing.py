"""Checks that any data set's reader, region proposer or source of meaning must pass: for tests of plug-ins.

Each raises an AssertionError that says what is not as the contract has it; see docs/extending.md.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.config import RunConfig, load_config
from labelgen.core.frame import Frame
from labelgen.core.records import UNLABELLED, Regions
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import DatasetInfo, load_cloud, load_image, plan_frames
from labelgen.datasets.checks import PlanInput, check_plan
from labelgen.geometry.rle import area_and_box
from labelgen.regions import ImageRegions, Prompts, describe_proposer, join_cameras, make_proposer
from labelgen.regions.base import regions_of_labels
from labelgen.semantics import describe_encoder, make_encoder
from labelgen.semantics.base import FrameImages


def check_dataset(
    name: str, dataroot: Path, version: str = "", split: str = ""
) -> tuple[list[Frame], DatasetInfo]:
    """Plan a data set twice, read its first frame's cloud and images, and look for what makes no sense.

    Returns:
        Its plan, for checks of what only its author knows.

    Raises:
        AssertionError: what is wrong.
        UserError, FrameError: it cannot be planned, or its files cannot be read.
    """
    frames, info = plan_frames(name, dataroot, version, split)
    again, _ = plan_frames(name, dataroot, version, split)
    _hold(pickle.dumps(frames) == pickle.dumps(again), "two plans of the same files differ")
    ids = [frame.frame_id for frame in frames]
    _hold(len(set(ids)) == len(ids), "two frames have the same id")
    _hold(Path(info.dataroot).is_absolute(), f"DatasetInfo.dataroot {info.dataroot!r} is not absolute")
    for frame in frames[:1]:
        cloud, _ = load_cloud(Path(info.dataroot), frame)
        _hold(len(cloud) > 0, f"{frame.lidar_path} holds no points")
        for camera in frame.cameras:
            image, _ = load_image(Path(info.dataroot), camera, frame.frame_id)
            size = (camera.height, camera.width)
            _hold(image.shape[:2] == size, f"{camera.image_path} is {image.shape[:2]}, not {size}")
    found = [str(odd) for odd in check_plan(PlanInput(Path(info.dataroot), frames, info), frozenset())]
    _hold(not found, "; ".join(found))
    return frames, info


def check_regions(
    settings: Mapping[str, Any], image: NDArray[np.uint8] | None = None, prompts: Prompts | None = None
) -> ImageRegions:
    """Make a region proposer of its settings, and look at what it proposes.

    Args:
        settings: with ``backend``.
        image: (H, W, 3) uint8 RGB; four coloured quarters by default.
        prompts: what is known about it.

    Returns:
        The regions, for checks of what only its author knows.

    Raises:
        AssertionError: what is wrong.
    """
    config = _settings("regions", settings).regions
    info = describe_proposer(config)
    _hold(bool(info.name and info.revision and info.licence), f"name, revision or licence is empty: {info}")
    proposer = make_proposer(config, "cpu")
    image = quarters() if image is None else image
    found = proposer.propose(image, prompts)
    _hold(found.size == image.shape[:2], f"size is {found.size}, the image's {image.shape[:2]}")
    for name, dtype, shape in (
        ("box_xyxy", np.float32, (len(found), 4)),
        ("area", np.int32, (len(found),)),
        ("score", np.float16, (len(found),)),
        ("stability", np.float16, (len(found),)),
    ):
        values = getattr(found, name)
        wrong = f"{name} is {values.dtype} {values.shape}, not {np.dtype(dtype)} {shape}"
        _hold(values.dtype == dtype and values.shape == shape, wrong)
    for name in ("score", "stability"):
        values = getattr(found, name)
        _hold(bool(((values >= 0) & (values <= 1)).all()), f"{name} is not within 0..1")
    area, box = area_and_box(found.rle, *found.size)
    _hold(np.array_equal(area, found.area), "area is not that of the masks")
    _hold(np.array_equal(box, found.box_xyxy), "box_xyxy is not that of the masks")
    again = proposer.propose(image.copy(), prompts)
    _hold(again.rle == found.rle and bool((again.score == found.score).all()), "two calls differ")
    both = proposer.propose_frame([image, None], None if prompts is None else [prompts, prompts])
    _hold(both[1] is None and both[0] is not None, "a missing image of a frame must have None")
    join_cameras(both)
    return found


def check_semantics(settings: Mapping[str, Any], taxonomy: str = "nuscenes16") -> None:
    """Make a source of meaning of its settings, and look at what it says of four coloured quarters.

    Args:
        settings: with ``backend``.
        taxonomy: whose classes compete, a name or a file.

    Raises:
        AssertionError: what is wrong.
    """
    config, classes = _settings("semantics", settings).semantics, load_taxonomy(taxonomy)
    info = describe_encoder(config)
    _hold(bool(info.name and info.revision and info.licence), f"name, revision or licence is empty: {info}")
    source, image = make_encoder(config, "cpu"), quarters()
    labels = np.arange(2).repeat(image.shape[0] // 2)[:, None] * 2 + np.arange(2).repeat(image.shape[1] // 2)
    regions = join_cameras([regions_of_labels(labels, 4), None])
    for given in (regions, Regions.empty()):
        images = FrameImages([image, None], ("a.png", "b.png"), ("a", "b"), "frame")
        found = source.encode(images, given, classes)
        shape = (len(given), len(classes))
        _hold(found.class_scores.shape == shape, f"class_scores are {found.class_scores.shape}, not {shape}")
        _hold(len(found.feature) == len(found.label) == len(given), "label and feature need a row per region")
        scores = found.class_scores.astype(np.float64)
        _hold(
            bool((scores >= 0).all() and (scores.sum(axis=1) <= 1.01).all()), "scores are not probabilities"
        )
        known = found.label[found.label != UNLABELLED]
        _hold(bool((known < len(classes)).all()), f"label {known.max(initial=0)} is neither a class nor 255")
        if found.feature.shape[1]:
            length = np.linalg.norm(found.feature.astype(np.float64), axis=1)
            _hold(bool((np.abs(length - 1) < 0.01).all()), "features are not of length 1")
        again = source.encode(images, given, classes)
        same = found.class_scores.tobytes() == again.class_scores.tobytes()
        _hold(same and found.feature.tobytes() == again.feature.tobytes(), "two calls differ")


def quarters(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 image of four quarters: asphalt, brick, leaves, sky."""
    colours = np.array([[[105, 105, 110], [170, 120, 90]], [[70, 110, 50], [120, 170, 220]]], np.uint8)
    return colours.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def _settings(section: str, given: Mapping[str, Any]) -> RunConfig:
    config = load_config(None, (), **{section: dict(given)})
    _hold(pickle.loads(pickle.dumps(config)) == config, "settings do not survive the way to another process")
    return config


def _hold(fact: bool, otherwise: str) -> None:
    if not fact:
        raise AssertionError(otherwise)
