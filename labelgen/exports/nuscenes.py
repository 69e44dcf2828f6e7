"""nuScenes: a drop-in replacement of the ground truth, and submissions to both challenges.

Formats: nuscenes-devkit, docs/instructions_lidarseg.md and python-sdk/nuscenes/eval/{lidarseg,panoptic}.
"""

from __future__ import annotations

import io
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets.roots import no_files
from labelgen.exports.classes import class_ids, dataset_ids
from labelgen.exports.fill import filled
from labelgen.exports.output import Output
from labelgen.exports.tables import tables_of
from labelgen.runs import Run

_MOST_INSTANCES = 999
_OWN = ("lidarseg", "panoptic")


def write_overlay(run: Run, out: Output) -> None:
    """A data root whose lidarseg labels are the run's: links to the originals, and ``lidarseg/`` of our own.

    Labels are the data set's general ids (0..31), 0 for unlabelled, so that trainers that read the ground
    truth and map it themselves read the pseudo-labels instead. Of a class that merges several categories,
    the first one of the taxonomy stands for all.

    Raises:
        UserError: the data root is not there, is no nuScenes, or has no label categories.
    """
    table, root, tables = dataset_ids(run), run.need(no_files), tables_of(run).where
    version = tables.name
    for entry in sorted(root.iterdir()):
        if entry.name not in (version, *_OWN):
            out.link(entry.name, entry)
    for entry in sorted(tables.iterdir()):
        if entry.stem not in _OWN:
            out.link(f"{version}/{entry.name}", entry)
    records = []
    for frame in map(run.frame, run.frames):
        name = f"lidarseg/{version}/{frame.frame_id}_lidarseg.bin"
        out.array(name, table[class_ids(frame)])
        records.append({"token": frame.frame_id, "sample_data_token": frame.frame_id, "filename": name})
    out.json(f"{version}/lidarseg.json", records)


def write_lidarseg(run: Run, out: Output, fill: str, split: str) -> None:
    """A lidarseg submission: uint8 1..16 per point; 0 is forbidden, so unlabelled points are filled.

    Raises:
        UserError: frames that failed, other classes than the challenge's, or what `filled` refuses.
    """
    _check_complete(run)
    table = _challenge_ids(run)
    for frame in map(run.frame, run.frames):
        values = table[filled(frame, fill)]
        out.array(f"lidarseg/{split}/{frame.frame_id}_lidarseg.bin", values)
    out.json(f"{split}/submission.json", {"meta": _META})


def write_panoptic(run: Run, out: Output, fill: str, split: str, task: str) -> None:
    """A panoptic submission: uint16 1000 * class + instance; unlabelled points are void (0) unless filled.

    Instances count from 1 within a class: for ``segmentation`` in each frame, for ``tracking`` in each scene,
    where the run's ids must mean the same in all frames. Points of a thing without an instance make one.

    Raises:
        UserError: frames that failed, other classes than the challenge's, more than 999 instances of a class,
            or what `filled` refuses.
    """
    _check_complete(run)
    table = _challenge_ids(run)
    things = run.taxonomy.things()
    scene, numbers = "", defaultdict[int, dict[int, int]](dict)
    for frame in map(run.frame, run.frames):
        if task == "segmentation" or frame.scene_id != scene:
            scene, numbers = frame.scene_id, defaultdict(dict)
        label = class_ids(frame) if fill == "refuse" else filled(frame, fill)
        instance = compact_instances(label, frame.labels.instance, things, numbers, frame.frame_id)
        values = (table[label].astype(np.uint16) * 1000 + instance).astype(np.uint16)
        values[label == UNLABELLED] = 0
        buffer = io.BytesIO()
        np.savez_compressed(buffer, data=values)
        out.write(f"panoptic/{split}/{frame.frame_id}_panoptic.npz", buffer.getvalue())
    out.json(f"{split}/submission.json", {"meta": _META | {"task": task}})


def compact_instances(
    label: NDArray[np.uint8],
    instance: NDArray[np.uint16],
    things: NDArray[np.bool_],
    numbers: dict[int, dict[int, int]],
    frame_id: str,
) -> NDArray[np.uint16]:
    """Instances as 1..999 within each class, in the order in which they appear; 0 for stuff.

    Args:
        label: (N,) class ids.
        instance: (N,) as stored, 0 for none.
        things: (256,) by class id.
        numbers: {class: {stored instance: number}} so far; added to.
        frame_id: for the error.

    Raises:
        UserError: more than 999 instances of a class; nothing wraps.
    """
    out = np.zeros(len(label), np.uint16)
    for class_id in np.unique(label[things[label]]).tolist():
        mine = label == class_id
        found, first, inverse = np.unique(instance[mine], return_index=True, return_inverse=True)
        of_class = numbers[class_id]
        for value in found[np.argsort(first)].tolist():
            of_class.setdefault(value, len(of_class) + 1)
        if len(of_class) > _MOST_INSTANCES:
            raise UserError(
                f"frame {frame_id}: {len(of_class)} instances of class {class_id}; this format has "
                f"{_MOST_INSTANCES}"
            )
        out[mine] = np.array([of_class[value] for value in found.tolist()], np.uint16)[inverse]
    return out


#: The camera's models make the labels; they were trained on other data.
_META = {
    "use_camera": True,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": True,
}


def _check_complete(run: Run) -> None:
    if failed := sorted(run.failures):
        raise UserError(
            f"{run.url}: {len(failed)} frames failed, such as {failed[0]}; a submission needs all of "
            "them: run the same job again with --retry-failed"
        )


def _challenge_ids(run: Run) -> NDArray[np.uint8]:
    """(256,) uint8: the challenge's id of each class; its order, from 1, is that of our taxonomy of it."""
    challenge = load_taxonomy("nuscenes16").names
    table = np.zeros(256, np.uint8)
    for spec in run.taxonomy.classes:
        if spec.name not in challenge:
            raise UserError(
                f"class {spec.name} of taxonomy {run.taxonomy.name} is not one of the challenge's: "
                f"{', '.join(challenge)}"
            )
        table[spec.id] = challenge.index(spec.name) + 1
    if missing := set(challenge) - set(run.taxonomy.names):
        raise UserError(f"taxonomy {run.taxonomy.name} lacks {', '.join(sorted(missing))}")
    return table
