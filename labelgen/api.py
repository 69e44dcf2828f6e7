"""The verbs: what can be done with driving logs and runs, as functions. The command line calls these.

All are offered by the package itself: ``labelgen.label(…)``, ``labelgen.fuse(…)``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from labelgen.core.errors import FrameError, UserError

if TYPE_CHECKING:
    from labelgen.config import RunConfig
    from labelgen.core.frame import Frame
    from labelgen.core.records import FrameRecord, Semantics
    from labelgen.datasets import DatasetInfo
    from labelgen.datasets.checks import Finding
    from labelgen.distill.protocols import Task
    from labelgen.engine.derivation import Operation
    from labelgen.engine.distill import Labelling
    from labelgen.engine.driver import Outcome
    from labelgen.engine.planning import Plan
    from labelgen.engine.recipe import Recipe
    from labelgen.engine.task import Step
    from labelgen.engine.trainings import Training
    from labelgen.runs import Run

__all__ = [
    "Derived",
    "Distilled",
    "How",
    "Labelled",
    "Named",
    "Trained",
    "check",
    "distill_run",
    "evaluate",
    "export",
    "frame_steps",
    "fuse",
    "import_labels",
    "label",
    "label_frame",
    "plan",
    "predict",
    "refine",
    "relabel",
    "report",
    "revote",
    "train",
]


#: Frames drawn in the report that ends `label`; `report` draws more.
_REPORT_PICTURES = 3


def _ignore(_: Any) -> None:
    """Report nothing."""


# --- data sets ---------------------------------------------------------------------------------------------


def check(
    dataset: str, dataroot: Path | str, *, version: str = "", split: str = "", allow: Sequence[str] = ()
) -> list[Finding]:
    """Read a data set's plan and some of its frames, and say what does not make sense.

    Args:
        dataset: one of `labelgen.datasets.DATASETS`.
        dataroot: its folder, or a ``frames.parquet``.
        version: of the tables.
        split: such as ``train``, or scene names with commas.
        allow: names of checks to skip.

    Returns:
        What was found: ``.refuse`` of each says whether it would stop a run.

    Raises:
        UserError: the data set cannot be read.

    >>> labelgen.check("nuscenes", "/data/nuscenes", split="mini_val")   # doctest: +SKIP
    """
    from labelgen.datasets import plan_frames
    from labelgen.datasets.checks import PlanInput, check_names, survey

    frames, info = plan_frames(dataset, Path(dataroot), version, split)
    return list(survey(PlanInput(Path(info.dataroot), frames, info), check_names(allow)))


def plan(
    dataset: str | None = None,
    dataroot: Path | str | None = None,
    *,
    version: str | None = None,
    split: str | None = None,
    config: str | None = None,
    settings: Mapping[str, Any] | None = None,
    output: Path | str | None = None,
    frames: str | None = None,
    retry_failed: bool = False,
    allow: Sequence[str] = (),
    recipe: Recipe | None = None,
) -> Plan:
    """Work out what a run would do; writes nothing.

    Args:
        dataset: one of `labelgen.datasets.DATASETS`; the preset's by default.
        dataroot: the data set's folder.
        version: of the data set.
        split: of it.
        config: a preset's name or a YAML file; ``demo`` by default.
        settings: over it, by their names: ``{"regions.backend": "superpixel"}``.
        output: the run's folder or address.
        frames: a slice, ``"BEGIN:END"`` or ``"k/N"``.
        retry_failed: count frames that failed before as not done.
        allow: names of checks to skip.
        recipe: makes the steps that a frame goes through, see `labelgen.engine.recipe`; a function of a
            module, since workers import it.

    Raises:
        UserError: something in the request cannot be; the message says what to do.

    >>> labelgen.plan("nuscenes", "/data/nuscenes", config="nuscenes").summary()   # doctest: +SKIP
    """
    from labelgen.engine.planning import Request, make_plan

    overrides = tuple(f"{name}={json.dumps(value)}" for name, value in (settings or {}).items())
    root = None if dataroot is None else Path(dataroot)
    return make_plan(
        Request(
            dataset,
            root,
            version,
            split,
            config,
            overrides,
            output,
            frames,
            retry_failed,
            tuple(allow),
            recipe,
        )
    )


# --- pass 1 ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Derived:
    """A derived run, laid over the one that it was made from.

    Attributes:
        run: its folder or address.
        outcome: frames done and failed, see `labelgen.engine.driver.Outcome`.
    """

    run: str
    outcome: Outcome


@dataclass(frozen=True)
class Labelled:
    """What `label` did.

    Attributes:
        run: folder or address of the run.
        outcome: frames labelled and failed, see `labelgen.engine.driver.Outcome`.
        fused: the run that fusion over time laid over it; None where there was nothing to fuse.
        report, picture: the page and a picture of the first frame; empty where none were asked for.
        scores: name and scores of the run and of the fused one, where there is truth and anything is new.
        fresh: whether anything is new since the report was written the last time.
    """

    run: str
    outcome: Outcome
    fused: Derived | None = None
    report: str = ""
    picture: str = ""
    scores: tuple[tuple[str, dict[str, Any]], ...] = ()
    fresh: bool = False

    @property
    def best(self) -> str:
        """The run to go on with: the fused one, if there is one."""
        return self.run if self.fused is None else self.fused.run

    @property
    def unfinished(self) -> bool:
        """Whether the same call is to be made again: it was stopped, or other drivers have frames of it."""
        return bool(
            self.outcome.stopped or self.outcome.elsewhere or (self.fused and self.fused.outcome.left)
        )


def label(
    planned: Plan,
    *,
    ray_address: str | None = None,
    strict: bool = False,
    share: bool = False,
    with_report: bool = True,
    on_frame: Callable[[int], None] = _ignore,
    on_fused: Callable[[int], None] = _ignore,
    warn: Callable[[str], None] = _ignore,
) -> Labelled:
    """Label what a plan has left, fuse it over time where the settings say so, score it, and report.

    Call it again to go on where the last call ended.

    Args:
        planned: of `plan`.
        ray_address: of a running cluster; None runs on this machine: on a Ray of its own, or with
            ``runtime.runner=sequential`` in this process.
        strict: stop at the first frame that fails.
        share: do the frames together with other callers that share, too.
        with_report: score where there is truth, and write the HTML report, at the end.
        on_frame: called with the number of frames newly labelled.
        on_fused: called with the number of frames newly fused.
        warn: told what is odd.

    Raises:
        UserError: it cannot start or go on, or data or labels make no sense.

    >>> done = labelgen.label(labelgen.plan("nuscenes", "/data/nuscenes"))   # doctest: +SKIP
    >>> labelgen.open_run(done.best).frames                                  # doctest: +SKIP
    """
    from labelgen.datasets.checks import warnings_of
    from labelgen.engine.labelling import label_plan

    if planned.job.frames:
        for line in warnings_of(planned.findings):
            warn(line)
    outcome = label_plan(planned, on_frame, ray_address, strict=strict, share=share, warn=warn)
    done = Labelled(str(planned.job.run), outcome)
    _judge(planned, warn)
    if not done.unfinished and planned.job.config.fusion.enabled:
        done = replace(done, fused=_fuse_beside(planned, on_fused, ray_address, warn))
    if with_report and not done.unfinished:
        done = _conclude(planned, done, warn)
    return done


def _judge(planned: Plan, warn: Callable[[str], None]) -> None:
    """Say what does not make sense about what is labelled so far, and was not said of the plan."""
    from labelgen.datasets.checks import refuse, warnings_of
    from labelgen.inspection.verdict import judge
    from labelgen.runs import open_run

    frames = {frame.frame_id for frame in planned.selected}
    findings = judge(open_run(planned.job.run), frames, planned.job.config.allow)
    if planned.job.frames:
        told = {finding.check for finding in planned.findings}
        for line in warnings_of(finding for finding in findings if finding.check not in told):
            warn(line)
    refuse(findings)


def _fuse_beside(
    planned: Plan, on_frame: Callable[[int], None], ray_address: str | None, warn: Callable[[str], None]
) -> Derived | None:
    """None where there is nothing to fuse, or the run is finished and nothing can be written."""
    from labelgen.engine.fusing import fuse_plan, fused_beside
    from labelgen.io.place import open_store
    from labelgen.shards.names import RUN_JSON
    from labelgen.shards.there import refuses_writing

    run = fused_beside(planned)
    try:
        outcome = fuse_plan(planned, on_frame, ray_address, warn=warn)
    except UserError as error:
        if planned.job.frames or open_store(run).exists(RUN_JSON) or not refuses_writing(error):
            raise
        warn(f"not fused over time: {error}")  # a finished run on a disk such as an archive's
        return None
    return None if outcome is None else Derived(run, outcome)


def _conclude(planned: Plan, done: Labelled, warn: Callable[[str], None]) -> Labelled:
    """Score where there is truth, and write report and picture: of the fused run, where there is one."""
    from labelgen.inspection.evaluation import evaluate_steps, has_truth
    from labelgen.inspection.picture import save_picture
    from labelgen.inspection.reporting import report_run
    from labelgen.io.place import open_store
    from labelgen.runs import open_run
    from labelgen.shards.there import refuses_writing

    store = open_store(done.best)
    page, picture = f"{store.url}/report/index.html", f"{store.url}/report/frame.png"
    changed = bool(planned.job.frames or (done.fused is not None and done.fused.outcome.scenes))
    if not changed and store.exists("report/index.html"):
        return replace(done, report=page, picture=picture)
    opened = open_run(store, planned.job.root)
    scores = evaluate_steps(opened) if has_truth(opened) else []
    done = replace(done, scores=tuple(scores), fresh=True)
    try:
        if opened.frames:
            save_picture(opened.frame(opened.frames[0]), picture)
        report_run(opened, f"{store.url}/report", _REPORT_PICTURES, scores)
    except UserError as error:
        if changed or not refuses_writing(error):
            raise
        warn(f"there is no report, and none can be written: {error}")
        return done
    return replace(done, report=page, picture=picture)


def frame_steps(
    config: RunConfig | Path | str = "demo", dataroot: Path | str = ".", info: DatasetInfo | None = None
) -> list[Step]:
    """The steps that label a frame, their models loaded: load, project, check, regions, semantics, vote.

    A list to read, change and run in a notebook with `label_frame`; no Ray is needed.

    Args:
        config: settings, or a preset's name or a file of them.
        dataroot: paths in frames are relative to it.
        info: of the data set, whose taxonomy and ego box hold where the settings name none.

    Raises:
        UserError: settings that cannot be, or weights that are missing.

    >>> frames, info = labelgen.datasets.plan_frames("demo", Path("data/demo"))   # doctest: +SKIP
    >>> steps = labelgen.frame_steps("demo", info.dataroot, info)                 # doctest: +SKIP
    >>> labelgen.label_frame(frames[0], steps).labels.label                       # doctest: +SKIP
    """
    from labelgen.config import load_config
    from labelgen.core.taxonomy import load_taxonomy
    from labelgen.datasets import DatasetInfo
    from labelgen.engine.planning import own_taxonomy
    from labelgen.engine.recipe import label_frames
    from labelgen.semantics import settle_semantics

    settings = load_config(config) if isinstance(config, Path | str) else config
    known = info or DatasetInfo()
    settings = settings.model_copy(update={"semantics": settle_semantics(settings.semantics)})
    settings = settings.settle(own_taxonomy(known), known.ego_box)
    taxonomy = load_taxonomy(str(settings.taxonomy))
    steps = label_frames(Path(dataroot), settings, taxonomy)
    for step in steps:
        step.setup()
    return steps


def label_frame(frame: Frame, steps: Sequence[Step]) -> FrameRecord:
    """Label one frame in this process.

    Args:
        frame: of a data set's plan.
        steps: of `frame_steps`, or a list of your own.

    Returns:
        All that a run would store of it: ``.labels``, ``.views``, ``.regions``, ``.semantics``, ``.xyz``.

    Raises:
        FrameError: the frame cannot be labelled, or a step failed, which is named.
    """
    from labelgen.engine.task import FrameTask, build_record

    task = FrameTask(frame)
    for step in steps:
        try:
            step(task)
        except FrameError:
            raise
        except Exception as error:
            raise FrameError(f"{step.name}: {error}", frame_id=frame.frame_id) from error
    return build_record(task, store_points=True)


# --- pass 2 ------------------------------------------------------------------------------------------------


class How(TypedDict, total=False):
    """What all verbs that derive a run take.

    Attributes:
        output: folder or address of the derived run; beside RUN, named after what is done, by default.
        scenes: numbers of the scenes to do; all by default.
        ray_address: do scenes side by side on Ray: ``local``, or a cluster's address.
        retry_failed: try all failed frames again.
        on_frame: called with the number of frames of every scene that is done.
        warn: told of what is odd about other drivers.
    """

    output: Path | str | None
    scenes: range | None
    ray_address: str | None
    retry_failed: bool
    on_frame: Callable[[int], None]
    warn: Callable[[str], None]


def revote(
    run: Run | Path | str, *, changes: Mapping[str, float] | None = None, **how: Unpack[How]
) -> Derived:
    """Vote anew with another depth tolerance, margin or weights, from the shards alone.

    Args:
        run: opened, or its folder or address.
        changes: settings of `labelgen.labels.VoteSettings` and, of `labelgen.geometry.ProjectionSettings`,
            ``max_residual`` and ``max_residual_relative``; the others stay as in the run.
        **how: see `How`.

    Raises:
        UserError: the run is derived or imported, or holds no residuals to test anew.

    >>> labelgen.revote("runs/demo", changes={"max_residual": 1.0})   # doctest: +SKIP
    """
    from labelgen.config import LabelSection, ProjectionSection
    from labelgen.core.settings_reading import checked, stored
    from labelgen.engine.operations import Revote
    from labelgen.geometry import ProjectionSettings
    from labelgen.labels import VoteSettings

    opened = _opened(run)
    if opened.parent is not None:
        raise UserError(f"{opened.url} is derived from {opened.parent.url}; revote that run instead")
    config = opened.info.config
    if "imported" in config:
        raise UserError(
            f"{opened.url} holds labels imported from another tool and has no regions that could vote"
        )
    given = dict(changes or {})
    limits = {name: given.pop(name) for name in ("max_residual", "max_residual_relative") if name in given}
    before = stored(ProjectionSection, config, "projection", opened.url).part(ProjectionSettings)
    if limits and not before.occlusion:
        raise UserError(
            f"{opened.url} was made without the depth test, so it stores no residuals to test again"
        )
    tolerance = checked(ProjectionSettings, before.model_dump() | limits, "revote")
    known = stored(LabelSection, config, "labels", opened.url).part(VoteSettings)
    settings = checked(VoteSettings, known.model_dump() | given, "revote")
    return _derive(opened, Revote(settings, tolerance, keep_visible=tolerance == before), how)


def refine(
    run: Run | Path | str,
    *,
    afi: bool = False,
    as_published: bool = False,
    fill: bool = False,
    calibration: Path | str | None = None,
    retrieval: Mapping[str, float] | bool = False,
    bank: int = 65536,
    on_features: Callable[[int], None] = _ignore,
    **how: Unpack[How],
) -> Derived:
    """Refine a run's labels in one of three ways.

    Args:
        run: opened, or its folder or address.
        afi: smooth labels along flat structures; needs the points.
        as_published: of AFI: take what arrives, whatever the label was.
        fill: of AFI: label points without a label, too.
        calibration: take confidence as a file of `labelgen evaluate --calibrate` says.
        retrieval: average each region's classes with those of its nearest over the run; settings of
            `labelgen.labels.retrieval.RetrievalSettings`, or True for the defaults.
        bank: of retrieval: regions of the run that can be asked.
        on_features: of retrieval: called with the number of frames whose features are newly read.
        **how: see `How`.

    Raises:
        UserError: none of the three is asked for, or several; or the run cannot be refined so.

    >>> labelgen.refine("runs/demo", afi=True)   # doctest: +SKIP
    """
    from labelgen.engine.operations import Calibrate, RefineFlat
    from labelgen.labels.calibrate import load

    if sum((afi, bool(retrieval), calibration is not None)) != 1:
        raise UserError("choose one way to refine: --afi, --retrieval or --calibration FILE")
    opened = _opened(run)
    if retrieval:
        settings = {} if retrieval is True else dict(retrieval)
        return _retrieve(opened, settings, bank, on_features, how)
    if calibration is not None:
        return _derive(opened, Calibrate(tuple(load(Path(calibration)).table.tolist())), how)
    return _derive(opened, RefineFlat(as_published=as_published, fill=fill), how)


def fuse(
    run: Run | Path | str,
    *,
    changes: Mapping[str, float] | None = None,
    instances_only: bool = False,
    **how: Unpack[How],
) -> Derived:
    """Fuse a run's labels over the frames of each scene, and follow things through it.

    Args:
        run: opened, or its folder or address.
        changes: settings of `labelgen.labels.fuse.FusionSettings`; the others are the run's.
        instances_only: number and follow things; leave the labels as they are.
        **how: see `How`.

    Raises:
        UserError: no scene has poses.

    >>> labelgen.fuse("runs/nuscenes", output="runs/nuscenes-fused")   # doctest: +SKIP
    """
    from labelgen.config import FusionSection, LabelSection, ProjectionSection
    from labelgen.core.settings_reading import checked, stored
    from labelgen.engine.operations import fusion_of
    from labelgen.runs import any_poses

    opened = _opened(run)
    config = opened.info.config
    known = stored(FusionSection, config, "fusion", opened.url).model_dump()
    operation = fusion_of(
        stored(LabelSection, config, "labels", opened.url),
        checked(FusionSection, known | dict(changes or {}), "fuse"),
        stored(ProjectionSection, config, "projection", opened.url),
    )
    if instances_only:
        operation = replace(operation, fusion=None)
    elif not any_poses(opened):
        raise UserError(
            f"{opened.url}: no scene has poses: global_from_lidar is the identity in all frames; give poses, "
            "or only number the things with --instances-only"
        )
    return _derive(opened, operation, how)


def relabel(
    run: Run | Path | str, taxonomy: str, *, checkpoint: str | None = None, **how: Unpack[How]
) -> Derived:
    """Give a run other classes from its stored features alone: no image is read, no GPU needed.

    Args:
        run: opened, or its folder or address.
        taxonomy: name or YAML file of the new classes.
        checkpoint: where the run's text encoder is now, if it has moved.
        **how: see `How`.

    Raises:
        UserError: the text encoder is not the one that the features were made for.

    >>> labelgen.relabel("runs/nuscenes", "my.yaml")   # doctest: +SKIP
    """
    from labelgen.core.taxonomy import load_taxonomy
    from labelgen.engine.relabel import plan_relabel

    opened = _opened(run)
    operation, attributes = plan_relabel(opened, load_taxonomy(taxonomy), checkpoint)
    more = {"taxonomy": operation.taxonomy, "attributes": attributes}
    return _derive(opened, operation, how, more)


def predict(
    run: Path | str,
    checkpoint: Path | str,
    output: Path | str,
    *,
    dataroot: Path | None = None,
    device: str = "auto",
    threads: int = 2,
    afi: bool = False,
    retry_failed: bool = False,
    on_frame: Callable[[int], None] = _ignore,
) -> dict[str, Any]:
    """Label all frames of a run with a trained network, as a run laid over it.

    Args:
        run: its folder or address.
        checkpoint: a training's folder.
        output: the new run's folder or address.
        dataroot: where the raw files are; None takes what the plan records.
        device: the device to run on.
        threads: CPU threads.
        afi: smooth the network's probabilities along flat structures.
        retry_failed: try frames again that failed before.
        on_frame: called with the number of frames of every scene that is done.

    Returns:
        See `labelgen.engine.distill.predict`.

    Raises:
        UserError: the checkpoint does not fit the run.

    >>> labelgen.predict("runs/demo", "runs/demo-net", "runs/demo-predicted")   # doctest: +SKIP
    """
    from labelgen.engine.distill import predict as predict_run

    return predict_run(
        str(run), Path(checkpoint), str(output), on_frame, dataroot, device, threads, afi,
        retry_failed=retry_failed,
    )  # fmt: skip


# --- trainings ---------------------------------------------------------------------------------------------


class Named(TypedDict, total=False):
    """What all trainings take by name.

    Attributes:
        output: the training's folder; beside RUN, named after the method, by default.
        size: ``demo``, ``small``, ``base`` or ``large``: backbone and what goes with it.
        config: YAML file over the method's defaults.
        settings: over it, by their names: ``{"optimizer.epochs": 5}``, or as ``--set`` takes them.
        split: see `labelgen.distill.splits.split_frames`; ``auto`` by default.
        dataroot: where the raw files are; None takes what the plan records.
        on_training: called with the name and steps of each training; opens what is told of every step, see
            `labelgen.distill.loop.fit`.
        on_labelling: called with the number of frames of each labelling; opens what is told how many are
            newly labelled.
    """

    output: Path | str | None
    size: str | None
    config: Path | str | None
    settings: Mapping[str, Any] | Sequence[str]
    split: str
    dataroot: Path | str | None
    on_training: Training
    on_labelling: Labelling


@dataclass(frozen=True)
class Trained:
    """A network and how good it is.

    Attributes:
        checkpoint: folder of the training, for `predict`, and to start others from.
        steps: that were made.
        loss: of the log's last line, if it has one.
        scores: ``network`` and ``labels`` (the run's own) against the truth of held-out frames; None where
            there is none.
        results: all that ``results.json`` holds, see `labelgen.distill.protocols.run_task`.
    """

    checkpoint: str
    steps: int
    loss: float | None
    scores: dict[str, Any] | None
    results: dict[str, Any]


@dataclass(frozen=True)
class Distilled:
    """What `distill_run` made.

    Attributes:
        pretraining: None where there was none.
        training: the last round on labels.
        predicted: the new run and its counts, as `predict` gives them.
        report: the page.
        results: all that the folder's ``results.json`` holds.
    """

    pretraining: Trained | None
    training: Trained
    predicted: dict[str, Any]
    report: Path
    results: dict[str, Any]


def train(
    run: Run | Path | str,
    method: str = "annotation-free",
    *,
    start: Path | str | None = None,
    keep_head: bool = False,
    fraction: int = 100,
    rounds: int = 1,
    val_run: Path | str | None = None,
    classes: str | None = None,
    variant: str | None = None,
    labels: str | None = None,
    ray_workers: int = 0,
    ray_address: str | None = None,
    **named: Unpack[Named],
) -> Trained:
    """Train a 3D network from a run, and score it on held-out frames.

    Call it again to go on where a training was stopped; one that is done is scored again.

    Args:
        run: opened, or its folder or address.
        method: without labels ``ppkt``, ``slidr``, ``st-slidr``, ``scalr``, ``openscene``, ``vlm2scene``,
            ``tmp``; on the run's labels ``annotation-free``; on true ones ``probe``, ``finetune``,
            ``panoptic``.
        start: folder of a training whose backbone is taken; a probe needs one.
        keep_head: take its head, too, where the classes are the same.
        fraction: of probe and finetune: share of the true labels, 1, 5, 10, 25 or 100 %.
        rounds: of annotation-free: 2 or more train again on the labels that the network predicts.
        val_run: score all frames of another run instead.
        classes: of panoptic: name or file of a split into base and novel classes; ``all`` by default.
        variant: of panoptic: ``pfc``, ``fusion``, ``unified``, ``object`` or, by default, ``full``.
        labels: of panoptic: ``truth``, the default, or ``pseudo``, the run's own.
        ray_workers: train on this many processes through Ray; 0: in this one.
        ray_address: of a running cluster.
        **named: see `Named`.

    Raises:
        UserError: invalid settings, a run that lacks what the method needs, a checkpoint that does not
            fit, a folder that holds another training, or a loss that is not finite.

    >>> labelgen.train("runs/demo", "slidr", size="demo", output="runs/slidr")     # doctest: +SKIP
    >>> done = labelgen.train("runs/demo", start="runs/slidr")                     # doctest: +SKIP
    >>> labelgen.predict("runs/demo", done.checkpoint, "runs/demo-predicted")      # doctest: +SKIP
    """
    from labelgen.engine.distill import self_train
    from labelgen.engine.trainings import do_task, make_task, panoptic_overrides

    if method != "panoptic" and (classes or variant or labels):
        raise UserError(f"method {method} takes no classes, variant or labels; only panoptic does")
    if method != "annotation-free" and rounds != 1:
        raise UserError(f"method {method} has one round; annotation-free may have {rounds}")
    given, on_training, on_labelling = _named(run, named)
    if method == "panoptic":
        taxonomy = _opened(run).taxonomy
        chosen = panoptic_overrides(taxonomy, classes or "all", variant or "full", labels or "truth")
        given["overrides"] = [*chosen, *given["overrides"]]
    task = make_task(
        method, _address(run), start=_path(start), keep_head=keep_head,
        fraction=fraction, val_run=None if val_run is None else str(val_run), **given,
    )  # fmt: skip

    def stage(name: str, one: Task) -> dict[str, Any]:
        return do_task(one, name, on_training, ray_workers, ray_address)

    if method == "annotation-free":
        return _trained(self_train(task, rounds, stage, on_labelling))
    names = {
        "probe": "probing",
        "finetune": f"fine-tuning on {fraction} %",
        "panoptic": "panoptic segmentation",
    }
    return _trained(stage(names.get(method, f"pre-training {method}"), task))


def distill_run(run: Run | Path | str, method: str, *, rounds: int = 1, **named: Unpack[Named]) -> Distilled:
    """Pre-train, train on pseudo-labels from there, label the run with the network, write a report.

    Args:
        run: opened, or its folder or address.
        method: the pre-training method, or ``annotation-free`` for none.
        rounds: rounds of training on labels.
        **named: see `Named`; ``config`` is of the pre-training, ``output`` the folder of all of it.

    Raises:
        UserError: as `train`.

    >>> labelgen.distill_run("runs/demo", "slidr", size="demo").training.scores   # doctest: +SKIP
    """
    from labelgen.engine.distill import distill
    from labelgen.engine.trainings import beside, check_pretraining, do_task, make_task
    from labelgen.inspection.reporting import report_run
    from labelgen.inspection.training_report import write_report
    from labelgen.runs import open_run

    given, on_training, on_labelling = _named(run, named)
    folder = given.pop("output") or beside(_opened(run), f"distill-{method}")
    first = None
    if method != "annotation-free":
        check_pretraining(method)
        first = make_task(method, _address(run), folder / "pretrain", **given)
    given.pop("config")
    training = make_task("annotation-free", _address(run), folder / "train", **given)
    summary = distill(
        first, training, rounds, lambda name, one: do_task(one, name, on_training), on_labelling
    )
    predicted = open_run(summary["predicted"]["run"], training.run.given)
    report_run(predicted, f"{predicted.url}/report", 3)
    before = summary["pretraining"]
    return Distilled(
        pretraining=None if before is None else _trained(before),
        training=_trained(summary["training"]),
        predicted=summary["predicted"],
        report=write_report(folder, summary),
        results=summary,
    )


# --- of runs -----------------------------------------------------------------------------------------------


def evaluate(
    run: Run | Path | str, *, classes: str | None = None, dataroot: Path | None = None
) -> dict[str, Any]:
    """Score a run against the data set's truth; see `labelgen.metrics.evaluate_run`.

    Args:
        run: opened, or its folder or address.
        classes: name or file of a split into base and novel classes.
        dataroot: where the raw files are; None takes what the plan records.

    Raises:
        UserError: there is no truth, or it does not fit.

    >>> labelgen.evaluate("runs/demo")["miou"]   # doctest: +SKIP
    """
    from labelgen.inspection.evaluation import evaluate as evaluate_run

    return evaluate_run(_opened(run, dataroot), classes)


def report(
    run: Run | Path | str,
    out: Path | str | None = None,
    *,
    pictures: int = 20,
    classes: str | None = None,
    dataroot: Path | None = None,
) -> tuple[str, list[str]]:
    """Write one HTML page about a run, complete in itself.

    Args:
        run: opened, or its folder or address.
        out: folder or address for ``index.html``; the run's own ``report`` by default.
        pictures: number of frames to draw, the worst ones.
        classes: as for `evaluate`.
        dataroot: where the raw files are; None takes what the plan records.

    Returns:
        The page, and one line for each thing that had to be left out.

    >>> labelgen.report("runs/demo")   # doctest: +SKIP
    """
    from labelgen.inspection.reporting import report_run

    opened = _opened(run, dataroot)
    return report_run(opened, out or f"{opened.url}/report", pictures, classes=classes)


def export(
    run: Run | Path | str, format_name: str, out: Path | str, *, dataroot: Path | None = None, **options: Any
) -> dict[str, Any]:
    """Write a run in another tool's format, into a new folder.

    Args:
        run: opened, or its folder or address.
        format_name: a key of `labelgen.exports.FORMATS`.
        out: the folder.
        dataroot: where the raw files are; None takes what the plan records.
        **options: see `labelgen.exports.format.Options`.

    Returns:
        ``format``, ``path``, ``frames`` and ``files``.

    Raises:
        UserError: something that the format cannot hold, or a folder that cannot be written.

    >>> labelgen.export("runs/demo", "lidarseg-overlay", "data/demo-pseudo")   # doctest: +SKIP
    """
    from labelgen.exports import export_run

    return export_run(_opened(run, dataroot), format_name, Path(out), **options)


def import_labels(
    labels: Path | str,
    out: Path | str,
    frames: Path | str,
    *,
    taxonomy: str = "nuscenes16",
    ids: str = "dataset",
) -> tuple[int, int]:
    """Make a run of another tool's labels, to be evaluated and compared like any other.

    Args:
        labels: folder of ``*_lidarseg.bin`` files.
        out: folder or address of the run.
        frames: ``frames.parquet`` of the frames, such as another run's; a path, or an address.
        taxonomy: name or file.
        ids: what the files hold: ``dataset`` (general ids) or ``challenge`` (1..16).

    Returns:
        How many frames have labels, and how many failed.

    Raises:
        UserError: the files do not fit the frames.

    >>> labelgen.import_labels("results", "runs/other", "runs/demo/frames.parquet")   # doctest: +SKIP
    """
    from labelgen.core.taxonomy import load_taxonomy
    from labelgen.datasets.manifest import read_frames
    from labelgen.exports import import_labels as import_into
    from labelgen.io.store import is_address
    from labelgen.shards import read_plan

    if is_address(frames):
        planned, info = read_plan(str(frames).removesuffix("/frames.parquet"))
    else:
        planned, info = read_frames(Path(frames))
    return import_into(Path(labels), out, planned, info, load_taxonomy(taxonomy), ids=ids)


# --- how ---------------------------------------------------------------------------------------------------


def _opened(run: Run | Path | str, dataroot: Path | None = None) -> Run:
    from labelgen.runs import open_run

    return open_run(run, dataroot) if isinstance(run, Path | str) else run


def _address(run: Run | Path | str) -> str:
    return str(run) if isinstance(run, Path | str) else run.url


def _named(run: Run | Path | str, named: Named) -> tuple[dict[str, Any], Training, Labelling]:
    """Arguments of `labelgen.engine.trainings.make_task`, and who is told."""
    settings = named.get("settings", ())
    if isinstance(settings, Mapping):
        settings = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    root = None if isinstance(run, Path | str) else run.given
    given = {
        "output": _path(named.get("output")),
        "size": named.get("size"),
        "config": _path(named.get("config")),
        "overrides": list(settings),
        "split": named.get("split", "auto"),
        "dataroot": _path(named.get("dataroot")) or root,
    }
    return (
        given,
        named.get("on_training", lambda name, steps: nullcontext(lambda step, line: None)),
        named.get("on_labelling", lambda frames: nullcontext(_ignore)),
    )


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)


def _trained(results: dict[str, Any]) -> Trained:
    return Trained(
        results["checkpoint"], results["steps"], results["loss"], results["scores"], results=results
    )


def _retrieve(
    opened: Run, settings: dict[str, Any], most: int, on_features: Callable[[int], None], how: How
) -> Derived:
    from labelgen.core.settings_reading import checked
    from labelgen.engine.reclass import Retrieve, check_voted, keep_bank
    from labelgen.engine.voting import vote_settings
    from labelgen.labels.retrieval import RetrievalSettings, build_bank

    check_voted(opened, "refine")
    near = checked(RetrievalSettings, settings, "refine")
    folder = str(how.get("output") or _beside(opened, "retrieval"))

    def regions() -> Iterator[tuple[str, Semantics]]:
        for frame_id in opened.frames:
            yield frame_id, opened.frame(frame_id).semantics
            on_features(1)

    found = build_bank(regions(), most)
    operation = Retrieve(folder, found.digest, near, *vote_settings(opened))
    return _derive(opened, operation, how, prepare=lambda: keep_bank(folder, found))


def _derive(
    opened: Run,
    operation: Operation,
    how: How,
    more: Mapping[str, Any] | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> Derived:
    """Plan a derived run and do it."""
    from labelgen.engine.derivation import plan_derivation
    from labelgen.engine.derive import derive

    chosen = how.get("scenes")
    folder = str(how.get("output") or _beside(opened, operation.name))
    derivation = plan_derivation(opened, operation, folder, **(more or {}))
    prepare()
    outcome = derive(
        derivation,
        how.get("on_frame", _ignore),
        lambda number, _: chosen is None or number in chosen,
        ray_address=how.get("ray_address"),
        retry_failed=how.get("retry_failed", False),
        warn=how.get("warn", _ignore),
    )
    return Derived(folder, outcome)


def _beside(opened: Run, operation: str) -> str:
    from labelgen.io.place import named_after

    return named_after(opened.store, f"-{operation}")
