"""A run in Rerun: points coloured by label, confidence or truth, images with their regions, a timeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED, FrameRecord
from labelgen.geometry.rle import decode
from labelgen.inspection.instances import instance_boxes
from labelgen.inspection.picture import if_there
from labelgen.runs import Run, RunFrame

_WORLD, _CAR = "world", "world/ego_vehicle"
_LARGEST = 640  # pixels of an image's side in the viewer


def view_run(run: Run, frames: Sequence[str], save: Path | None = None) -> list[str]:
    """Log frames to Rerun: into its viewer, or into a file that it opens later.

    Args:
        run: of `labelgen.open_run`.
        frames: ids, in the order of the timeline.
        save: ``.rrd`` file to write; None opens the viewer.

    Returns:
        One line for each thing that had to be left out.

    Raises:
        UserError: rerun-sdk is not installed, the file cannot be written, or a shard is damaged.
    """
    try:
        import rerun as rr
    except ImportError as error:
        raise UserError("labelgen view needs Rerun: pip install 'labelgen[viz]'") from error
    rr.init("labelgen", recording_id=run.url, spawn=save is None)
    if save is not None:
        try:
            save.parent.mkdir(parents=True, exist_ok=True)
            rr.save(save, default_blueprint=_blueprint(run, frames))
        except (OSError, RuntimeError) as error:
            raise UserError(f"cannot write {save}: {error}") from error
    else:
        rr.send_blueprint(_blueprint(run, frames))
    rr.log(_WORLD, rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    missing: list[str] = []
    for number, frame_id in enumerate(frames):
        rr.set_time("frame", sequence=number)
        frame = run.frame(frame_id)
        rr.set_time("time", timestamp=np.datetime64(frame.timestamp_us, "us"))
        _log_frame(rr, frame, missing)
    rr.disconnect()
    return missing


def _log_frame(rr: Any, frame: RunFrame, missing: list[str]) -> None:
    planned, record = frame.planned, frame.record()
    palette = frame.run.taxonomy.colors()
    pose = planned.global_from_lidar
    rr.log(_CAR, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    xyz = if_there(lambda: frame.xyz, missing)
    truth = if_there(lambda: frame.truth, missing) if frame.has_truth else None
    if xyz is not None:
        finite = np.isfinite(xyz).all(axis=1)
        points, labels = xyz[finite], record.labels
        rr.log(f"{_CAR}/labels", _points(rr, points, labels.label[finite], palette))
        colors = _ramp(labels.confidence[finite], labels.label[finite] == UNLABELLED)
        rr.log(f"{_CAR}/confidence", rr.Points3D(points, colors=colors))
        if truth is not None:
            rr.log(f"{_CAR}/truth", _points(rr, points, truth[finite], palette))
        centers, halves, ids = instance_boxes(xyz, record.labels)
        boxes = rr.Boxes3D(centers=centers, half_sizes=halves, colors=palette[ids], class_ids=ids)
        rr.log(f"{_CAR}/instances", boxes)
    for number, camera in enumerate(planned.cameras):
        entity = f"{_CAR}/{camera.name}"
        step = max(1, -(-max(camera.width, camera.height) // _LARGEST))
        lidar_from_camera = np.linalg.inv(camera.camera_from_lidar)
        rr.log(
            entity,
            rr.Transform3D(translation=lidar_from_camera[:3, 3], mat3x3=lidar_from_camera[:3, :3]),
            rr.Pinhole(
                image_from_camera=np.diag([1 / step, 1 / step, 1]) @ camera.intrinsics,
                resolution=[-(-camera.width // step), -(-camera.height // step)],
                camera_xyz=rr.ViewCoordinates.RDF,
            ),
        )
        image = if_there(partial(frame.image, number), missing)
        if image is not None:
            rr.log(f"{entity}/image", rr.Image(image[::step, ::step]).compress(jpeg_quality=80))
        regions = region_classes(record, number, camera.height, camera.width)[::step, ::step]
        # Colours, and not rr.SegmentationImage with an annotation context: Rerun 0.23 needs numpy 2 for that.
        alpha = np.where(regions == UNLABELLED, 0, 110).astype(np.uint8)
        rr.log(f"{entity}/regions", rr.Image(np.dstack([palette[regions], alpha]), draw_order=1.0))


def _points(rr: Any, xyz: NDArray[np.float32], label: NDArray[np.uint8], palette: NDArray[np.uint8]) -> Any:
    return rr.Points3D(xyz, colors=palette[label], class_ids=label.astype(np.uint16))


def region_classes(record: FrameRecord, camera: int, height: int, width: int) -> NDArray[np.uint8]:
    """(H, W) uint8: class of the smallest region at each pixel of a camera's image, 255 for none.

    Raises:
        UserError: a mask is damaged.
    """
    out = np.full((height, width), UNLABELLED, np.uint8)
    rows = record.regions.camera_slice(camera)
    for row in (np.argsort(-record.regions.area[rows], kind="stable") + rows.start).tolist():
        try:
            out[decode(record.regions.rle[row], height, width)] = record.semantics.label[row]
        except ValueError as error:
            raise UserError(f"frame {record.frame_id}: region {row}: {error}") from error
    return out


def _ramp(confidence: NDArray[np.uint8], bare: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(N, 3) uint8 RGB: red is doubtful, blue is sure, grey has no label."""
    share = confidence[:, None] / 255.0
    mixed = (1 - share) * np.array([205, 40, 40]) + share * np.array([30, 95, 175])
    colors: NDArray[np.uint8] = mixed.astype(np.uint8)
    colors[bare] = 120
    return colors


def _blueprint(run: Run, frames: Sequence[str]) -> Any:
    import rerun.blueprint as rrb

    cameras = [camera.name for camera in run.planned(frames[0]).cameras] if frames else []
    space = rrb.Spatial3DView(
        origin=_WORLD,
        name="points",
        contents=["+ $origin/**", f"- {_CAR}/confidence/**", f"- {_CAR}/truth/**"],
    )
    pictures = [rrb.Spatial2DView(origin=f"{_CAR}/{name}", name=name) for name in cameras]
    if not pictures:
        return rrb.Blueprint(space)
    return rrb.Blueprint(rrb.Vertical(space, rrb.Grid(*pictures, grid_columns=3), row_shares=[3, 2]))
