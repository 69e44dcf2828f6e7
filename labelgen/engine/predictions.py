"""Pass 2 with a trained network: its labels for every point, as a run laid over the one that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.core.errors import FrameError
from labelgen.core.records import Failure
from labelgen.core.taxonomy import Taxonomy
from labelgen.distill.needs import info_of
from labelgen.distill.predict import load_predictor
from labelgen.distill.state import weights_file
from labelgen.engine.derivation import Derived
from labelgen.engine.failures import failure_by
from labelgen.labels.afi import AfiSettings
from labelgen.models.execution import select_device
from labelgen.models.info import file_hash
from labelgen.runs import POINTS, Scene


@dataclass(frozen=True)
class Predict:
    """Labels of all points by a trained network, which is loaded where the scene is done.

    Attributes:
        checkpoint: of `labelgen train`.
        device, threads: to run on.
        afi: smooths the network's probabilities.
    """

    checkpoint: Path
    device: str = "auto"
    threads: int = 2
    afi: AfiSettings | None = None
    name: str = "predicted"
    stored: tuple[str, ...] = ("points",)
    points: frozenset[str] = POINTS

    def settings(self) -> dict[str, Any]:
        """All that can change a label."""
        weights = {"weights": file_hash(weights_file(self.checkpoint))}
        return weights if self.afi is None else weights | {"afi": self.afi.covered()}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        run = scene.run
        device = select_device(self.device, self.threads)
        predictor = load_predictor(self.checkpoint, info_of(run), device)
        for frame_id in scene.frame_ids:
            try:
                for _, labels in predictor.labels(run, [frame_id], afi=self.afi):
                    yield Derived(frame_id, labels)
            except (ValueError, FrameError) as error:
                yield failure_by(run.entry(frame_id), self.name, error)
