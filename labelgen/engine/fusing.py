"""Pass 2 of the default job: what a plan's run holds, fused over time into a run beside it."""

from __future__ import annotations

from collections.abc import Callable

from labelgen.core.frame import Frame
from labelgen.engine.derivation import plan_derivation
from labelgen.engine.derive import derive
from labelgen.engine.driver import Outcome
from labelgen.engine.operations import fusion_of
from labelgen.engine.planning import Plan
from labelgen.io.place import named_after
from labelgen.runs import Run, have_poses

#: Frames from which on a local Ray fuses scenes side by side; its start takes as long as fusing some tens.
LOCAL_RAY_FROM = 64


def fused_beside(plan: Plan) -> str:
    """Folder or address of the fused run: ``<run>-fused``."""
    return named_after(plan.job.run, "-fused")


def fuse_plan(
    plan: Plan,
    on_frame: Callable[[int], None] = lambda count: None,
    ray_address: str | None = None,
    *,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome | None:
    """Fuse the scenes of a plan that are complete, into `fused_beside`.

    A scene is fused when all of its planned frames are labelled or have failed, so that of the tasks of a job
    array the one that labels its last frame does it. A scene that is fused already stays as it is, unless it
    has gained frames or had some labelled anew: see `labelgen.engine.derive.Scenes`.

    Args:
        plan: whose run is labelled.
        on_frame: called with the number of frames of every scene that is done.
        ray_address: of a running cluster; None runs locally.
        warn: told of what is odd about other drivers.

    Returns:
        None where there is nothing to fuse: no such scene has poses and more than one labelled frame.

    Raises:
        UserError: the folder holds another run, or cannot be written.
    """
    config = plan.job.config
    run = Run(plan.job.run, plan.job.root)
    planned: dict[str, list[Frame]] = {}
    for frame in plan.planned:
        planned.setdefault(frame.scene_id, []).append(frame)
    ready: dict[str, list[Frame]] = {}  # labelled frames of the scenes that are complete
    for name, frames in planned.items():
        if all(frame.frame_id in run or frame.frame_id in run.failures for frame in frames):
            ready[name] = [frame for frame in frames if frame.frame_id in run]
    if not any(len(frames) > 1 and have_poses(frames) for frames in ready.values()):
        return None

    fusion = fusion_of(config.labels, config.fusion, config.projection)
    on_ray = config.runtime.runner == "ray"
    many = sum(map(len, ready.values())) >= LOCAL_RAY_FROM
    return derive(
        plan_derivation(run, fusion, fused_beside(plan)),
        on_frame,
        lambda _, scene: scene.scene_id in ready,
        ray_address=(ray_address or ("local" if many else None)) if on_ray else None,
        retry_failed=plan.retry_failed,
        share=True,
        warn=warn,
    )
