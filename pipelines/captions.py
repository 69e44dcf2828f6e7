"""Region caption prompts as a stage: captions of the regions that matter, and what follows for classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from labelgen.config import RunConfig
from labelgen.half import stored_feature
from labelgen.taxonomy import Taxonomy
from pipelines.stages import DescribeRegions, FrameTask


@dataclass
class CaptionRegions:
    """Caption the top regions of each image and let the captions count.

    Attributes:
        config: of the run.
        taxonomy: the classes that compete.
        describe: the stage before, whose text encoder reads the captions.
    """

    config: RunConfig
    taxonomy: Taxonomy
    describe: DescribeRegions
    name: str = "captions"

    def setup(self) -> None:
        """Load the captioner; the encoder is the one that the stage before has loaded."""
        from labelgen.semantics.captioner import captioner_config, make_captioner

        runtime = self.config.runtime
        self.captioner = make_captioner(
            captioner_config(self.config.semantics), runtime.device, runtime.threads
        )

    def __call__(self, task: FrameTask) -> None:
        """Put captions, their features and the classes that follow into ``semantics``."""
        from labelgen.semantics.strategies import caption_temperature, choose_regions, combine

        assert task.views is not None
        assert task.regions is not None
        assert task.semantics is not None
        semantics, settings = task.semantics, self.config.semantics
        encoder: Any = self.describe.encoder
        rows = choose_regions(task.regions, task.views, task.frame.cameras, settings.caption_regions)
        captions = self.captioner.caption(task.decode(), task.regions, rows)
        feature = np.zeros_like(semantics.feature)
        told = np.array([row for row in rows if captions[row]], np.int64)
        if len(told):
            said = encoder.embed([captions[row] for row in told])
            feature[told] = stored_feature(said, settings.feature_bits)
        scores, label = combine(
            semantics,
            feature,
            encoder.vocabulary(self.taxonomy),
            settings.caption_strategy,
            caption_temperature(settings.caption_temperature, settings.caption_strategy, encoder.temperature),
        )
        task.semantics = replace(
            semantics, class_scores=scores, label=label, caption=captions, caption_feature=feature
        )
