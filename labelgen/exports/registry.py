"""Exports by name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.registry import Registry
from labelgen.exports import nuscenes, semantickitti
from labelgen.exports.format import Format, Options
from labelgen.exports.output import Output, new_folder
from labelgen.runs import Run


def _overlay(run: Run, out: Output, _: Options) -> None:
    kitti = run.dataset.dataset == "semantickitti"
    (semantickitti.write_overlay if kitti else nuscenes.write_overlay)(run, out)


def _lidarseg(run: Run, out: Output, options: Options) -> None:
    nuscenes.write_lidarseg(run, out, options.fill, options.split)


def _panoptic(run: Run, out: Output, options: Options) -> None:
    nuscenes.write_panoptic(run, out, options.fill, options.split, options.task)


def _semantickitti(run: Run, out: Output, _: Options) -> None:
    semantickitti.write_semantickitti(run, out)


def _uov(run: Run, out: Output, _: Options) -> None:
    from labelgen.exports.uov import write_uov

    write_uov(run, out)


def _openscene(run: Run, out: Output, options: Options) -> None:
    from labelgen.exports.openscene import write_openscene

    write_openscene(run, out, options.split)


def _scalr(run: Run, out: Output, options: Options) -> None:
    from labelgen.exports.scalr import write_scalr

    write_scalr(run, out, options.split)


def _superpixels(run: Run, out: Output, _: Options, name: str) -> None:
    from labelgen.exports import superpixels  # needs scipy and numba

    superpixels.write_superpixels(run, out, superpixels.PROFILES[name])


_OWN = {
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
#: All that ``labelgen export --format`` may name.
FORMATS: Registry[Format] = Registry("format", "labelgen.exports", Format, _OWN)


def export_run(run: Run, name: str, out: Path, **options: Any) -> dict[str, Any]:
    """Write a run in another tool's format.

    Args:
        run: of `labelgen.open_run`.
        name: a key of `FORMATS`.
        out: a folder that does not exist yet, or is empty; for ``scalr`` also one with other splits.
        **options: fields of `Options`.

    Returns:
        ``format``, ``path``, ``frames`` and ``files``.

    Raises:
        UserError: unknown format, no labelled frames, one that the plan lacks, something that the format
            cannot hold, or a folder that cannot be written.
    """
    form = FORMATS[name]
    chosen = Options(**options)
    if chosen.task not in ("segmentation", "tracking"):
        raise UserError(f"task {chosen.task!r}; segmentation or tracking is expected")
    if not chosen.split or not chosen.split.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"split {chosen.split!r} cannot be a folder's name")
    run.check_labelled()
    for frame_id in run.frames:  # ids in the plan can stand in names of files
        run.planned(frame_id)
    with new_folder(out, form.adds) as output:
        form.write(run, output, chosen)
    return {"format": name, "path": str(out), "frames": len(run.frames), "files": len(output.names)}
