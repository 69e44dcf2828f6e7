"""One stored frame, whose fields are read on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import (
    NO_REGION,
    DenseFeatures,
    FrameRecord,
    FrameStatus,
    PointLabels,
    RegionHits,
    Regions,
    Semantics,
    Views,
)
from labelgen.geometry.fractions import MOST_STEPS, inside_of_steps
from labelgen.shards.columns import decode_uv
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import FrameEntry
from labelgen.shards.point_features import FeatureSource, check_source, from_dense, from_regions
from labelgen.shards.schema import ARRAYS, DENSE
from labelgen.shards.shard import Shard

#: Shards that hold a frame, with its row in each.
Layers = Sequence[tuple[Shard, int]]


class StoredFrame:
    """One frame of a run. Every array field is read on first use, checked, and kept.

    Fields raise `DamageError` (a `UserError`) for what is not as it was written.

    Args:
        entry: what the manifest says of the frame.
        layers: (shard, row) pairs; the first that holds an array gives it. A derived run's come before
            its parent's.
        apart: the same of dense features.
    """

    def __init__(
        self,
        entry: FrameEntry,
        layers: Layers,
        apart: Layers = (),
    ) -> None:
        self.entry = entry
        self._layers, self._apart = tuple(layers), tuple(apart)

    def __repr__(self) -> str:
        return f"StoredFrame({self.frame_id!r}, {self.num_points} points, {self.entry.status})"

    @property
    def frame_id(self) -> str:
        """As in the `Frame`."""
        return self.entry.frame_id

    @property
    def scene_id(self) -> str:
        """As in the `Frame`."""
        return self.entry.scene_id

    @property
    def timestamp_us(self) -> int:
        """Time of the LiDAR sweep, microseconds."""
        return self.entry.timestamp_us

    @property
    def num_points(self) -> int:
        """N: points of the raw file."""
        return self.entry.num_points

    @property
    def status(self) -> FrameStatus:
        """Whether all cameras could be used."""
        return FrameStatus.PARTIAL if self.entry.status == "partial" else FrameStatus.OK

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the frame's shard; where it names no classes, over those of the parent that does."""
        layers = [shard.attributes for shard, _ in self._layers]
        return next((given for given in layers if "class_names" in given), {}) | layers[0]

    @property
    def shards(self) -> tuple[str, ...]:
        """Where the frame is stored: its shard, then those of the parents."""
        return tuple(shard.where for shard, _ in self._layers)

    @property
    def uv_steps(self) -> int:
        """Steps per pixel of ``views/uv``."""
        shard, _ = self._holder("views/uv")
        steps = shard.attributes.get("uv_steps_per_pixel")
        if type(steps) is not int or steps < 1:
            raise DamageError("torn-shard", f"{shard.where}/zarr.json", f"uv_steps_per_pixel is {steps!r}")
        return steps

    @property
    def layout(self) -> dict[str, list[int]]:
        """{array: sizes of all axes but the first}: what can differ between frames of one run."""
        names = [name for name in ARRAYS if ARRAYS[name].group in ("points", "regions") and self._has(name)]
        shapes = {name: self._holder(name)[0].manifest.arrays[name].shape for name in names}
        return {
            name: [] if ARRAYS[name].group == "points" else list(shape[1:]) for name, shape in shapes.items()
        }

    @cached_property
    def labels(self) -> PointLabels:
        """Labels of all N points, in the raw file's order."""
        labels: PointLabels = self._record(
            PointLabels, "points", {name: self._points(name) for name in PointLabels._SPEC}
        )
        self._within("points/region", labels.region[labels.region != NO_REGION], self.num_regions)
        return labels

    @cached_property
    def views(self) -> Views:
        """(point, camera) pairs. ``uv`` is exact to half a step, metres are float16."""
        point = self._rows("views/point")
        self._within("views/point", point, self.num_points)
        views: Views = self._record(
            Views,
            "views",
            {
                "point": point.astype(np.int32),
                "camera": self._rows("views/camera"),
                "uv": decode_uv(self._rows("views/uv"), self.uv_steps),
                "depth": self._rows("views/depth").astype(np.float32),
                "depth_residual": self._rows("views/depth_residual").astype(np.float32),
                "visible": self._rows("views/visible"),
            },
        )
        return views

    @cached_property
    def view_region(self) -> NDArray[np.uint16]:
        """(V,) uint16: the smallest region at each view's pixel, 65535 for none."""
        region = self._rows("views/region")
        self._within("views/region", region[region != NO_REGION], self.num_regions)
        return region

    @cached_property
    def hits(self) -> RegionHits | None:
        """All regions at each view's pixel, or None if the run did not store them (an older one)."""
        if not self._has("hits/region"):
            return None
        region = self._rows("hits/region")
        self._within("hits/region", region, self.num_regions)
        offsets = np.concatenate([[0], np.cumsum(self._rows("views/hits"), dtype=np.int64)])
        if offsets[-1] != len(region):
            raise self._damage("views/hits", f"counts {offsets[-1]} of {len(region)} hits")
        reach, inside = self.hit_reach, None
        if reach:
            steps = self._rows("hits/inside")
            self._within("hits/inside", steps, 3 * reach + 1)
            inside = inside_of_steps(steps, reach)
        hits: RegionHits = self._record(
            RegionHits,
            "hits",
            {"offsets": offsets, "region": region.astype(np.int32), "inside": inside, "reach": reach},
        )
        return hits

    @property
    def hit_reach(self) -> int | None:
        """Pixels around each view's that ``hits`` have looked at, 0 for none; None if there are no hits."""
        if not self._has("hits/region"):
            return None
        shard, _ = self._holder("hits/region")
        if not shard.has("hits/inside"):
            return 0
        reach = shard.attributes.get("hit_reach")
        if type(reach) is not int or not 1 <= reach <= MOST_STEPS // 3:
            raise DamageError("torn-shard", f"{shard.where}/zarr.json", f"hit_reach is {reach!r}")
        return reach

    @property
    def num_regions(self) -> int:
        """K: regions of all cameras."""
        begin, end = self._span("regions/camera")
        return end - begin

    @cached_property
    def regions(self) -> Regions:
        """Regions of all cameras."""
        return self._regions(tuple(self._strings("regions/rle")))

    def _regions(self, codes: tuple[bytes, ...]) -> Regions:
        fields = {
            name: self._rows(f"regions/{name}") for name in Regions._SPEC if self._has(f"regions/{name}")
        }
        regions: Regions = self._record(Regions, "regions", fields | {"rle": codes})
        if regions.parent is not None and len(regions):
            self._within("regions/parent", regions.parent, len(regions))
            if int(regions.parent.min()) < -1:
                raise self._damage("regions/parent", f"names {int(regions.parent.min())}")
        return regions

    @cached_property
    def semantics(self) -> Semantics:
        """What the regions mean."""
        fields: dict[str, Any] = {
            name: self._rows(f"regions/{name}") for name in Semantics._SPEC if self._has(f"regions/{name}")
        }
        if self._has("regions/caption_bytes"):
            try:
                fields["caption"] = tuple(text.decode() for text in self._strings("regions/caption"))
            except UnicodeDecodeError as error:
                raise self._damage("regions/caption_bytes", str(error)) from error
        semantics: Semantics = self._record(Semantics, "regions", fields)
        return semantics

    @cached_property
    def xyz(self) -> NDArray[np.float32] | None:
        """(N, 3) float32 metres in the LiDAR frame, or None if the run did not store points."""
        return self._cloud_array("xyz")

    @cached_property
    def intensity(self) -> NDArray[np.float32] | None:
        """(N,) float32, or None if the run did not store points."""
        return self._cloud_array("intensity")

    @cached_property
    def dense(self) -> DenseFeatures | None:
        """Image features on a grid, or None if the run did not store any."""
        if not self._has("dense/size"):
            return None
        quantised = self._has("dense/quantised")
        dense: DenseFeatures = self._record(
            DenseFeatures,
            "dense",
            {
                "values": self.array(f"dense/{'quantised' if quantised else 'feature'}"),
                "size": self.array("dense/size"),
                "scale": self.array("dense/scale") if quantised else None,
            },
        )
        return dense

    def point_features(self, source: FeatureSource = "regions") -> NDArray[np.float16]:
        """(N, D) float16 feature of every point, averaged over its views; 0 where there is none.

        Args:
            source: ``regions`` expands the features of the regions under its pixels
                (`labelgen.shards.point_features.from_regions`), ``dense`` samples the dense maps at them
                (`from_dense`).

        Raises:
            UserError: the run stores no dense features.
            DamageError: something is not as it was written.
        """
        check_source(source)
        if source == "regions":
            feature = self._rows("regions/feature")
            return from_regions(self.num_points, self.views, self.view_region, feature)
        if self.dense is None:
            raise UserError("the run stores no dense features; label with semantics.dense_features={}")
        return from_dense(self.num_points, self.views, self.dense)

    def array(self, name: str) -> NDArray[Any]:
        """The frame's part of one stored array, such as ``points/label`` or ``regions/feature``.

        As stored: values are compared with nothing else, ``views/uv`` is in steps. For ``points/*`` N rows,
        for ``views/*`` V, for ``hits/*`` as many as ``views/hits`` says, for ``regions/*`` K; offsets and the
        bytes that they cut are not to be had so.

        Raises:
            DamageError: not stored, or not as it was written.
        """
        spec = ARRAYS.get(name)
        if spec is None or spec.axes[0] not in ("F", "V", "H", "R") or spec.group == "frame":
            raise ValueError(f"{name!r} is not an array of a single frame")
        if spec.group == DENSE:
            shard, row = self._holder(name)
            values: NDArray[Any] = shard.rows(name, row, row + 1)[0]
            return values
        return self._points(name.partition("/")[2]) if spec.group == "points" else self._rows(name)

    def record(self, *, masks: bool = True) -> FrameRecord:
        """All but dense features, as the stages gave it (pixels and metres to their arrays' precision).

        Args:
            masks: False leaves the regions' run-length codes empty, which take most of the time.
        """
        entry = self.entry
        try:
            return FrameRecord(
                frame_id=entry.frame_id,
                scene_id=entry.scene_id,
                timestamp_us=entry.timestamp_us,
                source_id=entry.source_id,
                status=self.status,
                notes=entry.notes,
                source_hashes=dict(entry.source_hashes),
                views=self.views,
                view_region=self.view_region,
                regions=self.regions if masks else self._regions((b"",) * self.num_regions),
                semantics=self.semantics,
                labels=self.labels,
                xyz=self.xyz if self._has("points/xyz") else None,
                intensity=self.intensity if self._has("points/intensity") else None,
                hits=self.hits,
                seconds=dict(entry.seconds),
            )
        except (TypeError, ValueError) as error:
            raise self._damage("frame", str(error)) from error

    def _has(self, name: str) -> bool:
        return any(shard.has(name) for shard, _ in self._among(name))

    def _among(self, name: str) -> tuple[tuple[Shard, int], ...]:
        return self._apart if name.startswith(f"{DENSE}/") else self._layers

    def _holder(self, name: str) -> tuple[Shard, int]:
        for shard, row in self._among(name):
            if shard.has(name):
                return shard, row
        raise self._damage(name, "is not stored")

    def _points(self, name: str) -> NDArray[Any]:
        shard, row = self._holder(f"points/{name}")
        values = shard.rows(f"points/{name}", row, row + 1)[0]
        if len(values) < self.num_points:
            raise self._damage(f"points/{name}", f"holds {len(values)} of {self.num_points} points")
        return values[: self.num_points]

    def _cloud_array(self, name: str) -> NDArray[Any] | None:
        return self._points(name) if self._has(f"points/{name}") else None

    def _span(self, name: str) -> tuple[int, int]:
        shard, row = self._holder(name)
        return shard.span(name.partition("/")[0], row)

    def _rows(self, name: str) -> NDArray[Any]:
        shard, _ = self._holder(name)
        return shard.rows(name, *self._span(name))

    def _strings(self, name: str) -> list[bytes]:
        shard, row = self._holder(f"{name}_bytes")
        return shard.strings(name, *shard.span("regions", row))

    def _record(self, kind: Any, group: str, values: Mapping[str, Any]) -> Any:
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            raise self._damage(group, str(error)) from error

    def _within(self, name: str, values: NDArray[Any], limit: int) -> None:
        if len(values) and int(values.max()) >= limit:
            raise self._damage(name, f"names {int(values.max())} of {limit}")

    def _damage(self, name: str, detail: str) -> DamageError:
        where = f"{self._layers[0][0].where}/{name}"
        error = DamageError("torn-shard", where, f"frame {self.frame_id}: {detail}")
        for shard, _ in reversed(self._layers):  # any of them may be at fault
            shard.note(error)
        return error
