"""What every 3D network offers to the trainer: features of points, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from labelgen.distill.batch import Batch


class Backbone(nn.Module, ABC):
    """Points in, one feature per point out; heads belong to the methods.

    Attributes:
        width: C, width of the features.
        neighbours: how many nearest neighbours of each point the loader is to find; 0 for none.
        bounds: two corners, metres; the loader leaves points beyond them out. None: no bounds.
        layers: modules in the order in which data passes them, for learning rates that fall by layer.
    """

    width: int
    neighbours: int = 0
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None

    @property
    @abstractmethod
    def layers(self) -> list[nn.Module]:
        """Modules in the order in which data passes them; together they hold every parameter."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """(N, C) features of the batch's points, not normalised."""
