"""Region features and dense maps from one pass of a CLIP's image tower over each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from labelgen.models.execution import autocast
from labelgen.regions.base import as_rgb
from labelgen.semantics.dense import DenseMap
from labelgen.semantics.grid_overlap import cell_counts
from labelgen.semantics.mixing import neighbourhood, unmixed, within_masks
from labelgen.semantics.modes import Mode
from labelgen.semantics.settings import OpenClipSettings
from labelgen.semantics.towers import Tower
from labelgen.semantics.windows import Layout, lay_out


class DenseClip:
    """The dense modes of one image tower.

    - ``maskclip``, ``naclip``: a map of features; a region has the mean of its pixels'.
    - ``pool``: a region's cells are averaged before what the tower does after its own averaging.
    - ``maskattn``: the last attention sees nothing but the region; its map is that of the family's first
      mode.
    """

    def __init__(
        self,
        tower: Tower,
        mode: Mode,
        config: OpenClipSettings,
        *,
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        device: torch.device,
    ) -> None:
        """Take a tower.

        Args:
            tower: on ``device``.
            mode: one of the tower's family.
            config: ``short_side``, ``overlap``, ``batch_size``.
            mean: (3,) RGB in 0..1 that the tower expects to be taken off.
            std: (3,) and what is left to be divided by.
            device: where to compute.
        """
        self.tower, self.mode, self.config, self.device = tower, mode, config, device
        self.mean, self.std = (torch.from_numpy(v).view(3, 1, 1).to(device) for v in (mean, std))

    def encode(
        self, image: NDArray[np.uint8], codes: Sequence[bytes] = (), *, with_map: bool = True
    ) -> tuple[NDArray[np.float32], DenseMap | None]:
        """Features of an image's regions, and its map.

        Args:
            image: (H, W, 3) uint8 RGB, or grey.
            codes: K run-length codes of masks of the image's size.
            with_map: whether the map is wanted.

        Returns:
            (K, D) float32, L2-normalised, zeros for a region without pixels; and the map, float16.

        Raises:
            ValueError: an impossible image or a damaged code.
        """
        image = as_rgb(image)
        size = (image.shape[0], image.shape[1])
        layout = self.layout(size)
        counts = torch.from_numpy(cell_counts(codes, size, layout.grid)).to(self.device)
        with torch.inference_mode(), autocast(self.device):
            windows = self._windows(image, layout)
            feature, dense = self._look(windows, layout, counts, with_map)
        cells = dense.to(torch.float16).cpu().numpy() if with_map and dense is not None else None
        return feature.float().cpu().numpy(), None if cells is None else DenseMap(cells, size)

    def layout(self, size: tuple[int, int]) -> Layout:
        """The windows over an image of (H, W) pixels."""
        tower, config = self.tower, self.config
        return lay_out(
            size,
            cell=tower.cell,
            side=tower.side,
            window=tower.window,
            short_side=config.short_side,
            overlap=config.overlap,
        )

    def _windows(self, image: NDArray[np.uint8], layout: Layout) -> Tensor:
        """(B, 3, h, w) normalised pixels of the windows."""
        pixels = torch.tensor(image, device=self.device).permute(2, 0, 1)[None]
        pixels = pixels if self.device.type == "cpu" else pixels.float()  # bytes have a fast path on CPUs
        resized = F.interpolate(pixels, layout.pixels, mode="bilinear", antialias=True, align_corners=False)
        whole = (resized[0].float() / 255 - self.mean) / self.std
        c = layout.cell
        windows = torch.stack(
            [whole[:, y.start * c : y.stop * c, x.start * c : x.stop * c] for y, x in layout.slices()]
        )
        # Convolutions are half as fast again with the channels last.
        return windows.contiguous(memory_format=torch.channels_last)

    def _look(
        self, windows: Tensor, layout: Layout, counts: Tensor, with_map: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(K, D) region features and the (h, w, D) map, both normalised; no map where none is needed."""
        tower: Any = self.tower  # with an attention, wherever the mode needs one
        batches = torch.split(windows, self.config.batch_size)
        if self.mode == "pool":
            cells = stitch(torch.cat([tower.plain(batch).float() for batch in batches]), layout)
            feature = _unit(tower.plain_head(weighted_means(cells, counts)))
            return _nothing(feature, counts), _unit(tower.plain_head(cells)) if with_map else None
        pairs = [tower.attention(batch) for batch in batches]
        key, value = (torch.cat(parts).float() for parts in zip(*pairs, strict=True))
        dense = None
        if with_map or self.mode != "maskattn":
            mixed = unmixed(value) if self._map_mode() == "maskclip" else neighbourhood(key, value)
            dense = _unit(stitch(_unit(tower.attention_head(mixed)), layout))
        if self.mode != "maskattn":
            assert dense is not None
            return _unit(weighted_means(dense, counts)), dense
        return self._within(tower.attention_head, key, value, counts, layout), dense

    def _map_mode(self) -> Mode:
        return self.tower.family.modes[0] if self.mode == "maskattn" else self.mode

    @staticmethod
    def _within(
        head: Callable[[Tensor], Tensor], key: Tensor, value: Tensor, counts: Tensor, layout: Layout
    ) -> Tensor:
        """(K, D) region features; a region in several windows has the mean of them, by its pixels in each."""
        total: Tensor | float = 0.0
        for number, (rows, columns) in enumerate(layout.slices()):
            inside = counts[:, rows, columns]
            pixels = inside.sum(dim=(1, 2))
            mixed = within_masks(key[number], value[number], inside)
            total = total + pixels[:, None] * _unit(head(mixed))
        assert isinstance(total, Tensor)
        return _unit(total)


def weighted_means(cells: Tensor, counts: Tensor) -> Tensor:
    """(h, w, C) cells and (K, h, w) weights to (K, C) means; zeros where there is no weight."""
    weight = counts.flatten(1)
    return (weight / weight.sum(dim=1, keepdim=True).clamp_min(1)) @ cells.flatten(0, 1)


def stitch(windows: Tensor, layout: Layout) -> Tensor:
    """(B, h, w, C) windows to the (h, w, C) grid of the image; means where windows overlap."""
    if len(layout.corners) == 1:
        return windows[0]
    total = windows.new_zeros(*layout.grid, windows.shape[-1])
    times = windows.new_zeros(*layout.grid, 1)
    for window, (rows, columns) in zip(windows, layout.slices(), strict=True):
        total[rows, columns] += window
        times[rows, columns] += 1
    return total / times


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1, float32; a row of zeros stays."""
    return F.normalize(rows.float(), dim=-1)


def _nothing(feature: Tensor, counts: Tensor) -> Tensor:
    """Zeros for regions without pixels: behind the head, a mean of nothing is something."""
    return feature * (counts.sum(dim=(1, 2)) > 0)[:, None]
