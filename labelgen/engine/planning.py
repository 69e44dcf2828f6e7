"""From a user's request to a `Job`: which data set, which settings, which frames are still to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labelgen.config import DemoSection, RunConfig, fingerprint, load_config
from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.core.settings_reading import checked
from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.core.taxonomy_source import shipped_names
from labelgen.datasets import DatasetInfo, plan_frames
from labelgen.datasets.checks import Finding, PlanInput, check_names, survey
from labelgen.engine.job import Job
from labelgen.engine.recipe import Recipe, check_recipe, describe_recipe, label_frames
from labelgen.engine.unchanged import Bar, Change, no_bar, settle
from labelgen.inspection import verdict  # noqa: F401 - its checks have names that --allow takes
from labelgen.io.paths import is_safe_path
from labelgen.io.place import open_store
from labelgen.io.store import is_address
from labelgen.models.info import ModelInfo
from labelgen.regions.settings import PromptedSettings
from labelgen.semantics import settle_semantics
from labelgen.shards import DamageError, Problem, Progress, create_run, done_frames, read_run_info
from labelgen.shards.manifest import SHARDS
from labelgen.shards.names import RUN_JSON
from labelgen.shards.resume import CHECKED_BYTES

DEMO_ROOT = Path("data/demo")
#: Of data sets that name none.
DEFAULT_TAXONOMY = "nuscenes16"


@dataclass(frozen=True)
class Request:
    """What a user asks for; None means the default."""

    dataset: str | None = None
    dataroot: Path | None = None
    version: str | None = None
    split: str | None = None
    config: str | None = None
    overrides: tuple[str, ...] = ()
    output: Path | str | None = None
    frames: str | None = None
    retry_failed: bool = False
    allow: tuple[str, ...] = ()
    recipe: Recipe | None = None


@dataclass(frozen=True)
class Plan:
    """A request, worked out.

    Attributes:
        job: with the frames that are still to be done.
        info: of the data set.
        planned: all frames of the data set and split.
        selected: those of them that the request asks for, done or not.
        progress: what the run's manifests already hold.
        models: the models that label.
        findings: what does not make sense about the data, see `labelgen.datasets.checks`.
        changed: frames that are labelled, but not from the sources as they are now.
        unseen: ids of frames that the request does not ask for, whose sources may have changed.
        same: see `labelgen.engine.unchanged.keep`.
        retry_failed: whether frames that failed before are tried again.
        own_recipe: what `describe_recipe` says of the steps; empty if they are the default ones.
    """

    job: Job
    info: DatasetInfo
    planned: tuple[Frame, ...]
    selected: tuple[Frame, ...]
    progress: Progress
    models: tuple[ModelInfo, ...]
    findings: tuple[Finding, ...] = ()
    changed: tuple[Change, ...] = ()
    unseen: frozenset[str] = frozenset()
    same: Mapping[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    own_recipe: tuple[Mapping[str, Any], ...] = ()

    @property
    def done(self) -> int:
        """Frames of the request that are labelled."""
        return sum((frame.frame_id, frame.source_id) in self.progress.done for frame in self.selected)

    @property
    def failed(self) -> int:
        """Frames of the request that failed and are not retried."""
        todo = {frame.frame_id for frame in self.job.frames}
        return sum(
            (frame.frame_id, frame.source_id) in self.progress.failed and frame.frame_id not in todo
            for frame in self.selected
        )

    def summary(self) -> dict[str, Any]:
        """Plain data for ``labelgen plan``."""
        images = sum(len(frame.cameras) for frame in self.selected)
        return {
            "run": str(self.job.run),
            "dataset": self.job.config.dataset,
            "frames": len(self.selected),
            "done": self.done,
            "failed": self.failed,
            "todo": len(self.job.frames),
            "images": images,
            "images_todo": sum(len(frame.cameras) for frame in self.job.frames),
            "estimated_bytes": self.estimate_bytes(),
            "fingerprint": self.job.fingerprint,
            "changed": len(self.changed),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def estimate_bytes(self) -> int:
        """Size of the whole run: measured on what is committed, from typical sizes before that."""
        if self.progress.done:
            stored = sum(open_store(self.job.run).sizes(SHARDS).values())
            return round(stored / len(self.progress.done) * len(self.selected))
        # Compressed, per frame: 11 B a point, 11 B a view, and about 100 regions an image with a float16
        # feature of 512 numbers, 400 B of run-length code and 100 B of the rest.
        points, views = 34_000, 21_000
        cameras = max((len(frame.cameras) for frame in self.selected), default=0)
        per_frame = 11 * points + 11 * views + 100 * cameras * (2 * 512 + 500)
        return per_frame * len(self.selected)

    def open_run(self) -> None:
        """Make the run's folder and record the settings, or check that the one there has the same.

        Raises:
            UserError: the folder holds a run with other settings; says which differ.
        """
        config = self.job.config
        own = {"recipe": list(self.own_recipe)} if self.own_recipe else {}
        create_run(
            self.job.run,
            fingerprint=self.job.fingerprint,
            config=config.model_dump(mode="json") | own,
            covered=config.label_settings() | own,
            taxonomy=self.job.taxonomy.to_dict(),
            models=[model.to_dict() for model in self.models],
            warnings=[finding.to_dict() for finding in self.findings],
        )


def make_plan(request: Request, bar: Bar = no_bar, *, compare: bool = True) -> Plan:
    """Work out a request; writes nothing.

    Args:
        request: what is asked for.
        bar: shows how many frames' files are compared with those that were labelled.
        compare: where files have other times than those that were labelled, read them, and let equal ones
            count as done; without, all of them count so, and the plan is not for `execute`.

    Raises:
        UserError: anything in the request that cannot be; the message says what to do.
    """
    config = resolve_config(request)
    allow = check_names(config.allow)
    if config.taxonomy is not None:
        load_taxonomy(config.taxonomy)  # before the data set is read, which may take a while
    models = describe_models(config)
    config = config.model_copy(update={"semantics": settle_semantics(config.semantics)})
    frames, info = plan_frames(
        config.dataset,
        resolve_root(request, config),
        version=request.version or "",
        split=request.split or "",
        sweeps=config.sweeps,
    )
    config = config.settle(own_taxonomy(info), info.ego_box)
    taxonomy = load_taxonomy(str(config.taxonomy))
    root = Path(info.dataroot)
    recipe, own = settle_recipe(request.recipe, root, config, taxonomy)
    mark = fingerprint(config, taxonomy.digest(), [model.to_dict() for model in models], own)
    run = open_store(request.output or default_output(config.dataset, info.version, request.split)).url
    mark = mark_there(run, mark)
    if config.regions.label_map and is_address(run):
        raise UserError(
            f"regions.label_map writes pictures into the run's folder, but {run} is not a local folder; "
            "choose a local folder, or regions.label_map=false"
        )
    progress = read_progress(run, mark)
    asked = select(frames, request.frames)
    chosen = {frame.frame_id for frame in asked} if compare else set()
    settled = settle(open_store(run), root, frames, chosen, progress, bar)
    selected = tuple(select(settled.frames, request.frames))
    held = progress.done if request.retry_failed else progress.done | progress.failed.keys()
    todo = tuple(frame for frame in selected if (frame.frame_id, frame.source_id) not in held)
    job = Job(run, root, config, taxonomy, mark, frames=todo, recipe=recipe)
    data = PlanInput(
        root,
        selected,
        info,
        config.model_dump(mode="json"),
        config.projection,
    )
    findings = tuple(survey(data, allow))
    labelled_anew = {frame.frame_id for frame in todo}
    return Plan(
        job,
        info,
        settled.frames,
        selected,
        progress,
        models,
        findings,
        tuple(change for change in settled.changed if change.frame_id in labelled_anew),
        settled.unseen,
        settled.same,
        request.retry_failed,
        own,
    )


def settle_recipe(
    recipe: Recipe | None, root: Path, config: RunConfig, taxonomy: Taxonomy
) -> tuple[Recipe, tuple[Mapping[str, Any], ...]]:
    """The recipe to use, and what is its own about it: nothing, if its steps are the default ones.

    Raises:
        UserError: its steps do not fit together.
    """
    if recipe is None:
        return label_frames, ()
    steps = recipe(root, config, taxonomy, "")
    check_recipe(steps)
    if steps == label_frames(root, config, taxonomy):
        return label_frames, ()
    return recipe, tuple(describe_recipe(steps))


def own_taxonomy(info: DatasetInfo) -> str:
    """Name or path of the taxonomy that a data set brings.

    Raises:
        UserError: it names a file that is not below its data root.
    """
    if not info.taxonomy or info.taxonomy in shipped_names():
        return info.taxonomy or DEFAULT_TAXONOMY
    if not is_safe_path(info.taxonomy):
        raise UserError(
            f"{info.dataroot}: taxonomy {info.taxonomy!r} of the data set is neither one of "
            f"{shipped_names()} nor a path below the data root; --set taxonomy=FILE takes any other"
        )
    return str(Path(info.dataroot) / info.taxonomy)


def mark_there(run: Path | str, mark: str) -> str:
    """The fingerprint that the run there goes by, if it has the settings of this one; else this one.

    Settings without an effect counted once: such a run has another fingerprint than it would have today.
    """
    try:
        found = read_run_info(run)
        if found.fingerprint == mark or found.parent is not None:
            return mark
        config = checked(RunConfig, found.config, f"{run}/{RUN_JSON}")
        taxonomy = Taxonomy.from_dict(found.taxonomy, f"{run}/{RUN_JSON}")
    except (UserError, DamageError, OSError):  # told by those who need what is there
        return mark
    known = all({"name", "weights"} <= model.keys() for model in found.models)
    return (
        found.fingerprint if known and fingerprint(config, taxonomy.digest(), found.models) == mark else mark
    )


def read_progress(run: Path | str, mark: str) -> Progress:
    """What a run's manifests hold; nothing where there is no run, or one with other settings.

    A ``run.json`` that is damaged says nothing; the manifests then do, and `create_run` writes it anew.

    Raises:
        UserError: the run is damaged, or its store cannot be reached.
    """
    store = open_store(run)
    try:
        there = store.exists(RUN_JSON)
    except OSError as error:
        raise UserError(f"cannot access {store.url}: {error.strerror}") from error
    damaged: tuple[Problem, ...] = ()
    try:
        if not there or read_run_info(store).fingerprint != mark:
            return Progress(frozenset(), {}, ())
    except DamageError as error:
        damaged = (error.problem,)
    progress = done_frames(store, fingerprint=mark, checked_bytes=CHECKED_BYTES)
    return replace(progress, damaged=damaged + progress.damaged)


def resolve_config(request: Request) -> RunConfig:
    """Preset or file, then overrides, then the data set's name from the command line.

    Without a configuration the shipped small models are used for every data set: a user who has no weights
    sees the whole way, and is told that the labels mean nothing on real images.
    """
    overrides = [*request.overrides, *([f"dataset={request.dataset}"] if request.dataset else [])]
    config = load_config(request.config or "demo", overrides)
    return config.model_copy(update={"allow": tuple(sorted({*config.allow, *request.allow}))})


def resolve_root(request: Request, config: RunConfig) -> Path:
    """The data root; the demo has a place of its own.

    Raises:
        UserError: none is given, or the demo's city is not built yet.
    """
    if request.dataroot is None and config.dataset != "demo":
        raise UserError(
            f"where is the data? Give DATAROOT=/path/to/{config.dataset} (make) or --dataroot (labelgen)"
        )
    root = request.dataroot or DEMO_ROOT
    if config.dataset == "demo" and not root.exists():
        raise UserError(f"the simulated city is not built yet: `labelgen run` builds it in {root}")
    return root


def missing_demo(request: Request) -> DemoSection | None:
    """What of the simulated city is to be built for this request; None if nothing is."""
    config = resolve_config(request)
    root = request.dataroot or DEMO_ROOT
    return config.demo if config.dataset == "demo" and not root.exists() else None


def describe_models(config: RunConfig) -> tuple[ModelInfo, ...]:
    """Names, revisions, licences and weight hashes of the models that the configuration names."""
    from labelgen.regions import describe_proposer
    from labelgen.semantics import describe_encoder
    from labelgen.semantics.registry import caption_settings, describe_captioner

    if isinstance(config.regions, PromptedSettings) and config.regions.mode == "boxes":
        raise UserError("regions.mode=boxes is for callers that give boxes; a run supports lidar and grid")
    models = [describe_proposer(config.regions), describe_encoder(config.semantics)]
    if (captions := caption_settings(config.semantics)) is not None:
        models.append(describe_captioner(captions))
    return tuple(models)


def default_output(dataset: str, version: str | None, split: str | None) -> Path:
    """``runs/<dataset>[-<version>][-<split>]``."""
    parts = [dataset, *(part for part in (version, split) if part and dataset != "demo")]
    return Path("runs") / "-".join(part.replace("/", "_") for part in parts)


def select(frames: Sequence[Frame], wanted: str | None) -> Sequence[Frame]:
    """``BEGIN:END`` of the plan (either may be missing), as Python slices, or ``K/N``: part K of N, from 0.

    Raises:
        UserError: not of that form, or nothing is left.
    """
    if not wanted:
        return frames
    begin: int | None
    end: int | None
    try:
        if "/" in wanted:
            part, parts = (int(number) for number in wanted.split("/"))
            if not 0 <= part < parts:
                raise ValueError
            begin, end = part * len(frames) // parts, (part + 1) * len(frames) // parts
        else:
            begin, end = (int(number) if number else None for number in wanted.split(":"))
    except ValueError as error:
        raise UserError(
            f"--frames {wanted!r}: expected BEGIN:END, such as 0:100, or a part such as 0/28"
        ) from error
    chosen = frames[begin:end]
    if not chosen:
        raise UserError(f"--frames {wanted} selects nothing of {len(frames)} frames")
    return chosen
