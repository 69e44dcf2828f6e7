"""Pass 2: the scenes that a derived run lacks, done in this process or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from labelgen.core.errors import RawFileError
from labelgen.core.frame import Frame
from labelgen.engine.derivation import Derivation, mark_of, open_scenes
from labelgen.engine.driver import Committed, Outcome, Watch, drive
from labelgen.engine.in_process import one_by_one
from labelgen.engine.lease import Lease
from labelgen.engine.scenes import Todo, derive_alone, derive_scene
from labelgen.runs import Scene
from labelgen.shards import Progress, done_frames

#: Kind of failures that may have passed when the same command is given again.
_PASSES = RawFileError.__name__


@dataclass(frozen=True)
class Scenes:
    """Scenes that a derived run lacks, as a `labelgen.engine.driver.Work`.

    Attributes:
        derivation: see `labelgen.engine.derivation.plan_derivation`.
        members: {number: scene} of the request.
        progress: what the derived run holds.
        retry_failed: try all failed frames again; without, those that failed for their raw files are: they
            may be there now.
        ray_address: do scenes side by side on Ray: ``local``, or a cluster's address; None: in this process.
        remedy: of two drivers of the same scenes.
    """

    derivation: Derivation
    members: Mapping[int, Scene]
    progress: Progress
    retry_failed: bool = False
    ray_address: str | None = None
    remedy: str = "or give each its own with --scenes"
    shared: bool = False

    @property
    def run(self) -> str:
        """Folder or address of the derived run."""
        return self.derivation.output

    @cached_property
    def todo(self) -> Todo:
        """What is to be done.

        A scene whose frames in the parent have changed since is done anew. Nothing is overwritten: its new
        shards stand beside the old ones, and readers take those that the plan, ``frames.parquet``, asks for.
        """
        found = {}
        for number, scene in self.members.items():
            mark = self._marks[number]
            there = frozenset(name for name in scene.frame_ids if (name, mark) in self._held)
            if len(there) < len(scene.frame_ids):
                found[number] = there
        return found

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Those of the scenes that are to be done which are not done."""
        return tuple(
            self.members[number].run.planned(name)
            for number, there in self.todo.items()
            for name in self.members[number].frame_ids
            if name not in there
        )

    @property
    def skipped(self) -> int:
        """Scenes of the request that were done before."""
        return len(self.members) - len(self.todo)

    @property
    def asked(self) -> int:
        """Frames of the request."""
        return sum(len(scene.frame_ids) for scene in self.members.values())

    @cached_property
    def failed_before(self) -> int:
        """Frames of the request that failed and are not tried again."""
        held = self._held & self.progress.failed.keys()
        scenes = ((scene, self._marks[number]) for number, scene in self.members.items())
        return sum((name, mark) in held for scene, mark in scenes for name in scene.frame_ids)

    @cached_property
    def _marks(self) -> Mapping[int, str]:
        return {number: mark_of(scene) for number, scene in self.members.items()}

    @cached_property
    def _held(self) -> frozenset[tuple[str, str]]:
        failed = self.progress.failed.items()
        again = {key for key, why in failed if self.retry_failed or why.error_type == _PASSES}
        return frozenset(self.progress.done | (self.progress.failed.keys() - again))

    def begin(self, held: Lease | None) -> Self:
        """The plan was written when the derived run was made."""
        return self

    def renewed(self) -> Self:
        """Without the scenes that another driver has done."""
        now = done_frames(self.run)
        failed = {key: why for key, why in now.failed.items() if key not in self.progress.failed}
        again = {key: why for key, why in now.failed.items() if key in self.progress.failed}
        return replace(self, progress=replace(now, failed=again, done=now.done | failed.keys()))

    def carry_out(self, watch: Watch) -> Iterator[Committed]:
        """Do the scenes; yields after each."""
        if self.ray_address is None:
            return self._here(watch)
        from labelgen.engine.ray.scenes import run_scenes

        return run_scenes(
            self.derivation, self.todo, watch, None if self.ray_address == "local" else self.ray_address
        )

    def expected(self, frames: int, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing is foretold of pass 2."""
        return {}

    def _here(self, watch: Watch) -> Iterator[Committed]:
        def do(number: int) -> Committed:
            return derive_scene(self.derivation, self.members[number], self.todo[number], watch.stop)

        def do_alone(number: int) -> Committed:
            return derive_alone(self.derivation, number, self.todo[number])

        for done in one_by_one(self.todo, watch, lambda number: self.members[number].frame_ids, do, do_alone):
            watch.on_frame(done.frames + done.failed)
            yield done


def derive(
    derivation: Derivation,
    on_frame: Callable[[int], None] = lambda count: None,
    wanted: Callable[[int, Scene], bool] = lambda number, scene: True,
    *,
    ray_address: str | None = None,
    retry_failed: bool = False,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Do the scenes that are not done yet, under the rules of `labelgen.engine.driver.drive`.

    Args:
        derivation: see `labelgen.engine.derivation.plan_derivation`.
        on_frame: called with the number of frames of every scene that is done.
        wanted: which scenes, by number and content: for slices of a job array.
        ray_address: see `Scenes`.
        retry_failed: try all failed frames again.
        share: let another driver that shares do the same scenes; what both do counts once.
        warn: told of what is odd about other drivers.

    Raises:
        UserError: the parent is damaged, the folder cannot be written or was removed meanwhile, or another
            driver is at work on the scenes.
    """
    members = {n: scene for n, scene in enumerate(open_scenes(derivation)) if wanted(n, scene)}
    work = Scenes(derivation, members, done_frames(derivation.output), retry_failed, ray_address)
    on_frame(work.asked - len(work.frames))
    return drive(work, on_frame, share=share, warn=warn)
