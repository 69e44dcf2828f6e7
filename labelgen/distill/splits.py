"""Which frames are trained on and which are scored: official splits, the papers' subsets, held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labelgen.core.errors import UserError
from labelgen.datasets.nuscenes_splits import official_splits
from labelgen.runs import Run

#: Shares of the training set, per cent, that the papers fine-tune on.
FRACTIONS = (1, 5, 10, 25, 100)
#: SemanticKITTI: sequences that are trained on, and the one that is scored.
KITTI_TRAIN = ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10")
KITTI_VAL = ("08",)
#: Scenes of nuScenes' official training split that SLidR holds out ("verifying", Sautier et al., CVPR 2022).
_MINI_VAL = """
0008 0009 0019 0029 0032 0042 0045 0049 0052 0054 0056 0066 0067 0073 0131 0152 0166 0168 0183 0190
0194 0208 0210 0211 0241 0243 0248 0259 0260 0261 0287 0292 0297 0305 0306 0350 0352 0358 0361 0365
0368 0377 0388 0391 0395 0413 0427 0428 0438 0444 0452 0453 0459 0463 0464 0475 0513 0533 0544 0575
0587 0589 0642 0652 0658 0669 0678 0687 0701 0703 0706 0710 0715 0726 0735 0740 0758 0786 0790 0804
0806 0847 0856 0868 0882 0897 0899 0976 0996 1012 1015 1016 1018 1020 1024 1044 1058 1094 1098 1107
"""
MINI_VAL = frozenset(f"scene-{number}" for number in _MINI_VAL.split())
#: Of the scenes of a run that no official split divides, every so-many-th is scored.
HELD_OUT = 4


@dataclass(frozen=True)
class Split:
    """Frames of a run, in the order of its plan.

    Attributes:
        train, val: frame ids; no scene is in both.
        name: how they were told apart.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    name: str


def split_frames(run: Run, name: str = "auto") -> Split:
    """Divide the frames of a run by scene.

    Args:
        run: the run.
        name: ``official`` (nuScenes' train and val, with those of v1.0-mini; SemanticKITTI's), ``slidr`` (the
            600 and 100 scenes of SLidR's "parametrize"), ``held-out`` (every fourth scene is scored), ``all``
            (every frame in both: the scores then say how well the labels were learned), a comma list of the
            scenes to be scored; ``auto``: official where both parts have frames, else held-out.

    Raises:
        UserError: no such split or scene, or one part is empty.
    """
    scenes = _scenes(run)
    if name == "auto":
        train, val = _official(run, list(scenes))
        name = "official" if train and val else "held-out"
    if name == "all":
        frames = tuple(frame for members in scenes.values() for frame in members)
        return Split(frames, frames, name)
    if name == "official":
        train, val = _official(run, list(scenes))
    elif name == "slidr":
        official, _ = _official(run, list(scenes))
        train, val = [s for s in official if s not in MINI_VAL], [s for s in scenes if s in MINI_VAL]
    elif name == "held-out":
        val = list(scenes)[HELD_OUT - 1 :: HELD_OUT] or list(scenes)[-1:]
        train = [scene for scene in scenes if scene not in val]
    else:
        named = {part.strip() for part in name.split(",") if part.strip()}
        if missing := sorted(named - scenes.keys()):
            raise UserError(
                f"{', '.join(missing)} is neither a split (auto, official, slidr, held-out, all) nor a scene "
                f"of {run.url}; its scenes are {', '.join(list(scenes)[:10])}"
            )
        val = [scene for scene in scenes if scene in named]
        train = [scene for scene in scenes if scene not in named]
    if not train or not val:
        empty = "training" if not train else "scoring"
        raise UserError(
            f"split {name!r} leaves no scene of {run.url} for {empty}; it has {len(scenes)} scenes: "
            "choose --split held-out, scene names, or all"
        )
    return Split(_frames(scenes, train), _frames(scenes, val), name)


def choose_fraction(run: Run, frames: Sequence[str], percent: int) -> tuple[str, ...]:
    """The papers' share of the training frames.

    nuScenes (SLidR, UOV): every 100th scene of the training scenes in the order of the data set's table, the
    100th first; 20th for 5 %, 10th for 10 %, 4th for 25 %. SemanticKITTI: every 100th scan of the sorted
    list, the first one first. A run with too few scenes for that: every 100th frame in the plan's order.

    Args:
        run: the run.
        frames: that may be trained on.
        percent: one of `FRACTIONS`.

    Returns:
        At least one frame.

    Raises:
        UserError: another percentage.
    """
    if percent not in FRACTIONS:
        raise UserError(f"--fraction {percent}: the papers' subsets are {', '.join(map(str, FRACTIONS))} %")
    step = 100 // percent
    if step == 1:
        return tuple(frames)
    if run.dataset.dataset == "semantickitti":
        return tuple(sorted(frames, key=lambda f: (run.planned(f).scene_id, run.planned(f).index))[::step])
    chosen = set(frames)
    scenes = {
        scene: [frame for frame in members if frame in chosen] for scene, members in _scenes(run).items()
    }
    with_frames = [scene for scene, members in scenes.items() if members]
    if len(with_frames) >= step:
        return _frames(scenes, with_frames[step - 1 :: step])
    return tuple(frames[step - 1 :: step] or frames[-1:])


def _scenes(run: Run) -> dict[str, list[str]]:
    """{scene: labelled frames}, in the order of the plan."""
    scenes: dict[str, list[str]] = {}
    for frame_id, frame in run.plan.items():
        if frame_id in run:
            scenes.setdefault(frame.scene_id, []).append(frame_id)
    return scenes


def _official(run: Run, scenes: Sequence[str]) -> tuple[list[str], list[str]]:
    if run.dataset.dataset == "semantickitti":
        return [s for s in scenes if s in KITTI_TRAIN], [s for s in scenes if s in KITTI_VAL]
    train, val = official_splits()["train"], official_splits()["val"]
    return [s for s in scenes if s in train], [s for s in scenes if s in val]


def _frames(scenes: dict[str, list[str]], chosen: Sequence[str]) -> tuple[str, ...]:
    return tuple(frame for scene in chosen for frame in scenes[scene])
