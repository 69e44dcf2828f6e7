"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from labelgen.errors import UserError
from labelgen.exports import nuscenes, semantickitti, superpixels
from labelgen.exports.output import Output, new_folder
from labelgen.exports.source import Source
from labelgen.shards import Run


@dataclass(frozen=True)
class Options:
    """What a user can choose.

    Attributes:
        fill: see `labelgen.exports.fill.filled`.
        split: that a submission is named after.
        task: ``segmentation`` or ``tracking``, of a panoptic submission.
    """

    fill: str = "refuse"
    split: str = "val"
    task: str = "segmentation"


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        text: what is written.
        write: writes it.
        adds: to an earlier export into the same folder; see `labelgen.exports.output.new_folder`.
    """

    text: str
    write: Callable[[Source, Output, Options], None]
    adds: bool = False


def _overlay(source: Source, out: Output, _: Options) -> None:
    kitti = source.info.dataset == "semantickitti"
    (semantickitti.write_overlay if kitti else nuscenes.write_overlay)(source, out)


def _lidarseg(source: Source, out: Output, options: Options) -> None:
    nuscenes.write_lidarseg(source, out, options.fill, options.split)


def _panoptic(source: Source, out: Output, options: Options) -> None:
    nuscenes.write_panoptic(source, out, options.fill, options.split, options.task)


def _semantickitti(source: Source, out: Output, _: Options) -> None:
    semantickitti.write_semantickitti(source, out)


def _uov(source: Source, out: Output, _: Options) -> None:
    from labelgen.exports.uov import write_uov

    write_uov(source, out)


def _openscene(source: Source, out: Output, options: Options) -> None:
    from labelgen.exports.openscene import write_openscene

    write_openscene(source, out, options.split)


def _scalr(source: Source, out: Output, options: Options) -> None:
    from labelgen.exports.scalr import write_scalr

    write_scalr(source, out, options.split)


def _superpixels(source: Source, out: Output, _: Options, name: str) -> None:
    superpixels.write_superpixels(source, out, superpixels.PROFILES[name])


FORMATS: dict[str, Format] = {
    "lidarseg-overlay": Format("a data root whose ground truth is the run's labels, 0: none", _overlay),
    "nuscenes-lidarseg": Format("a submission to the lidarseg challenge", _lidarseg),
    "nuscenes-panoptic": Format("a submission to the panoptic challenge", _panoptic),
    "semantickitti": Format("sequences/XX/predictions", _semantickitti),
    **{
        name: Format(f"superpixels of {title}", partial(_superpixels, name=name))
        for name, title in (
            ("slidr", "SLidR"),
            ("seal", "Seal"),
            ("superflow", "SuperFlow (classes)"),
            ("limoe", "LiMoE"),
        )
    },
    "uov": Format("regions, features and labels of UOV / AFOV", _uov),
    "openscene": Format("OpenScene's frames and fused features", _openscene),
    "scalr": Format("ScaLR's index files, split by split", _scalr, adds=True),
}


def export_run(
    run: Run, name: str, out: Path, *, dataroot: Path | None = None, **options: Any
) -> dict[str, Any]:
    """Write a run in another tool's format.

    Args:
        run: open.
        name: a key of `FORMATS`.
        out: a folder that does not exist yet, or is empty; for ``scalr`` also one with other splits.
        dataroot: where the raw files are; None takes what the run's plan records.
        **options: fields of `Options`.

    Returns:
        ``format``, ``path``, ``frames`` and ``files``.

    Raises:
        UserError: unknown format, something that the format cannot hold, or a folder that cannot be written.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}; there is {', '.join(FORMATS)}")
    chosen = Options(**options)
    if chosen.task not in ("segmentation", "tracking"):
        raise UserError(f"task {chosen.task!r}; segmentation or tracking is expected")
    if not chosen.split or not chosen.split.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"split {chosen.split!r} cannot be a folder's name")
    source = Source(run, dataroot)
    with new_folder(out, FORMATS[name].adds) as output:
        FORMATS[name].write(source, output, chosen)
    return {"format": name, "path": str(out), "frames": len(run.frames), "files": len(output.names)}
