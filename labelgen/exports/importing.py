"""Labels of other tools as a run, to be evaluated, compared and fused like our own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError, UserError
from labelgen.core.frame import Frame
from labelgen.core.records import (
    NO_CAMERA,
    NO_REGION,
    UNLABELLED,
    Failure,
    FrameRecord,
    FrameStatus,
    PointLabels,
    Reason,
    Regions,
    Semantics,
    Views,
)
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import MOST_POINTS, load_cloud
from labelgen.io.paths import read_file
from labelgen.shards import build_index, create_run, merge_plan, resume, write_shard
from labelgen.shards.resume import CHECKED_BYTES
from labelgen.shards.schema import MAX_FRAMES


def import_labels(
    labels: Path,
    out: Path | str,
    frames: list[Frame],
    info: DatasetInfo,
    taxonomy: Taxonomy,
    *,
    ids: str = "dataset",
    on_frames: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Make a run of lidarseg-style files: uint8 per point, ``<frame id>_lidarseg.bin`` below a folder.

    Such a run has labels alone: no views, no regions. Labelled points have full confidence. Where the clouds
    are at hand, points that are no return have no label.

    Args:
        labels: the folder; files may be in folders below it.
        out: folder or address of the run.
        frames: of the plan.
        info: of the plan; its categories translate the data set's ids.
        taxonomy: whose classes the run gets.
        ids: ``dataset``: the data set's general ids; ``challenge``: 1.. in the order of the taxonomy, 0 for
            none, as in submissions.
        on_frames: called with the number of frames newly done.

    Returns:
        Frames labelled, and frames that failed.

    Raises:
        UserError: no such folder or no file in it, another run in ``out``, or categories that do not fit.
    """
    if not labels.is_dir():
        raise UserError(f"{labels} is not a folder of label files")
    found = {path.name: path for path in sorted(labels.rglob("*_lidarseg.bin"))}
    if not found:
        raise UserError(f"{labels} holds no *_lidarseg.bin")
    table = _table(ids, info, taxonomy)
    config = {"dataset": info.dataset, "imported": "lidarseg", "ids": ids}
    content = f"{config} {taxonomy.digest()} {table.tobytes().hex()}"
    fingerprint = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
    create_run(out, fingerprint=fingerprint, config=config, taxonomy=taxonomy.to_dict(), models=[])
    merge_plan(out, frames, info)
    done = resume(out, checked_bytes=CHECKED_BYTES).done
    todo = [frame for frame in frames if (frame.frame_id, frame.source_id) not in done]
    labelled = failed = 0
    for begin in range(0, len(todo), MAX_FRAMES):
        records: list[FrameRecord] = []
        failures: list[Failure] = []
        for frame in todo[begin : begin + MAX_FRAMES]:
            try:
                path = found.get(f"{frame.frame_id}_lidarseg.bin")
                records.append(_record(Path(info.dataroot), frame, path, table, taxonomy))
            except FrameError as error:
                failures.append(
                    Failure(frame.frame_id, frame.source_id, "import", "FrameError", str(error), "")
                )
        write_shard(
            out, records, failures, fingerprint=fingerprint, attributes={"class_names": taxonomy.names}
        )
        labelled, failed = labelled + len(records), failed + len(failures)
        if on_frames is not None:
            on_frames(len(records) + len(failures))
    build_index(out)
    return labelled, failed


def _table(ids: str, info: DatasetInfo, taxonomy: Taxonomy) -> NDArray[np.uint8]:
    """(256,) uint8: class of each value, 255 for none."""
    if ids == "dataset":
        return taxonomy.train_id_table(info.categories)
    if ids != "challenge":
        raise UserError(f"--ids {ids}: dataset or challenge is expected")
    table = np.full(256, UNLABELLED, np.uint8)
    table[1 : len(taxonomy) + 1] = np.arange(len(taxonomy))
    return table


def _record(
    root: Path, frame: Frame, path: Path | None, table: NDArray[np.uint8], taxonomy: Taxonomy
) -> FrameRecord:
    if path is None:
        raise FrameError("there is no label file for it", frame_id=frame.frame_id)
    data = read_file(path.parent, path.name, frame.frame_id, MOST_POINTS)
    label = table[np.frombuffer(data, np.uint8)]
    n = len(label)
    returned = _returned(root, frame, n)
    label[~returned] = UNLABELLED
    bare = label == UNLABELLED
    why_not = np.where(returned, Reason.VOID, Reason.NO_RETURN)
    nothing = np.zeros(0, np.float32)
    return FrameRecord(
        frame_id=frame.frame_id,
        scene_id=frame.scene_id,
        timestamp_us=frame.timestamp_us,
        source_id=frame.source_id,
        status=FrameStatus.OK,
        notes=(),
        source_hashes={},
        views=Views(
            point=np.zeros(0, np.int32),
            camera=np.zeros(0, np.uint8),
            uv=np.zeros((0, 2), np.float32),
            depth=nothing,
            depth_residual=nothing,
            visible=np.zeros(0, np.bool_),
        ),
        view_region=np.zeros(0, np.uint16),
        regions=Regions.empty(),
        semantics=Semantics(
            class_scores=np.zeros((0, len(taxonomy)), np.float16),
            label=np.zeros(0, np.uint8),
            feature=np.zeros((0, 0), np.float16),
        ),
        labels=PointLabels(
            label=label,
            confidence=np.where(bare, 0, 255).astype(np.uint8),
            margin=np.where(bare, 0, 255).astype(np.uint8),
            instance=np.zeros(n, np.uint16),
            region=np.full(n, NO_REGION, np.uint16),
            camera=np.full(n, NO_CAMERA, np.uint8),
            views=np.zeros(n, np.uint8),
            reason=np.where(bare, why_not, Reason.LABELLED).astype(np.uint8),
        ),
    )


def _returned(root: Path, frame: Frame, labels: int) -> NDArray[np.bool_]:
    """(N,) which points are returns; all, where the cloud is not at hand."""
    try:
        cloud, _ = load_cloud(root, frame)
    except FrameError:
        return np.ones(labels, np.bool_)
    if len(cloud) != labels:
        raise FrameError(
            f"{labels} labels for {len(cloud)} points; they belong to another cloud or are truncated",
            frame_id=frame.frame_id,
        )
    return cloud.returned
