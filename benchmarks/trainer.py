"""The trainer: one step of WaffleIron-12-128 on 2 x 20,000 points, its parts, and what feeds it.

Annotation-free training (cross entropy and Lovász over 16 classes) on scans of the simulated city. Claims, in
seconds that the processor computes:
- ``trainer_step``: forward, backward and AdamW, beside the same network as its authors lay it out: neighbours
  in one table, channels before points, cells by a sparse matrix product, convolutions on whole grids that are
  contiguous. The parts are beside it.
- ``trainer_flatten_inflate``: one plane there and back with gradients, beside ``index_add``.
- ``trainer_loader``: share of a step that making its batch takes: reading, augmenting, voxels, neighbours.
- ``trainer_epoch``: seconds a frame of an epoch over many frames, beside few: time grows with frames.
- ``trainer_memory``: most memory of a process that trains on many frames, beside few.
- ``trainer_gpu``: steps per second of WaffleIron-48-256 on 4 x 20,000 points in bfloat16, where a GPU is.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
import torch
from shards import FINGERPRINT, make_frame
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from labelgen.core.frame import Frame
from labelgen.core.taxonomy import load_taxonomy
from labelgen.data import BatchStream
from labelgen.datasets import DatasetInfo, write_frames
from labelgen.demo.world import VAL_SEEDS, City
from labelgen.demo.world.lidar import scan
from labelgen.distill.backbones.planes import Plane, flatten, inflate, make_plane
from labelgen.distill.backbones.waffleiron import PLANES, WaffleIron
from labelgen.distill.batch import Batch
from labelgen.distill.config import load_train_config
from labelgen.distill.loop import precision
from labelgen.distill.methods import CacheInfo
from labelgen.distill.model import Model, make_model
from labelgen.distill.needs import info_of, open_for_training
from labelgen.distill.samples import FrameTransform, batches_of
from labelgen.distill.train import train
from labelgen.models.execution import select_device
from labelgen.runs import Run
from labelgen.shards import create_run, write_shard
from labelgen.shards.manifest import MAX_FRAMES

POINTS, FRAMES = 20_000, 2


def city_run(folder: Path, frames: int = FRAMES) -> Run:
    """A run that stores the points of two scans, with as many views and regions as a nuScenes frame has.

    Args:
        folder: of the run.
        frames: how many; the scans repeat.
    """
    taxonomy = load_taxonomy("nuscenes16")
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy.to_dict(), models=[])
    records, plan = [], []
    scans = [scan(City(seed=VAL_SEEDS[number]), 2.0).points for number in range(FRAMES)]
    for number in range(frames):
        record = make_frame(np.random.default_rng(number), number)
        sweep = scans[number % FRAMES]
        rows = np.resize(sweep, (len(record.labels), sweep.shape[1])).astype(np.float32)
        records.append(
            replace(record, xyz=np.ascontiguousarray(rows[:, :3]), intensity=np.ascontiguousarray(rows[:, 3]))
        )
        plan.append(
            Frame(
                record.frame_id,
                record.scene_id,
                number,
                record.timestamp_us,
                "none",
                "nuscenes",
                np.eye(4),
                (),
            )
        )
    write_frames(folder / "frames.parquet", plan, DatasetInfo(dataroot=str(folder)))
    for begin in range(0, frames, MAX_FRAMES):
        write_shard(folder, records[begin : begin + MAX_FRAMES], [], fingerprint=FINGERPRINT)
    return open_for_training(folder)


def growth(few: int, many: int) -> list[harness.Claim]:
    """An epoch over few frames and one over many, each in a process of its own."""
    seconds, megabytes = [], []
    with tempfile.TemporaryDirectory() as folder:
        for frames in (few, many):
            run = Path(folder) / f"run-{frames}"
            city_run(run, frames)
            command = [sys.executable, __file__, "--epoch", str(run)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            spent, peak = map(float, done.stdout.split()[-2:])
            seconds.append(spent / frames)
            megabytes.append(peak)
    return [
        harness.score(
            name, values[1], baseline=values[0], goal=1 / 1.1, unit=unit, lower_is_better=True,
            agreement={"frames": many, "baseline_frames": few},
        )
        for name, values, unit in (
            ("trainer_epoch", seconds, "s/frame"), ("trainer_memory", megabytes, "MB"),
        )
    ]  # fmt: skip


def one_epoch(run: Path) -> None:
    """Train for an epoch, and print its CPU seconds and the process's peak in MB."""
    opened = open_for_training(run)
    frames = tuple(opened.frames)
    overrides = ["optimizer.epochs=1", "optimizer.max_steps=null", "runtime.workers=0", "runtime.threads=1"]
    config = load_train_config("annotation-free", "demo", overrides=overrides)
    train(opened, config, frames[:4], run / "warm-up")
    begin = time.process_time()
    train(opened, config, frames, run / "trained")
    spent = time.process_time() - begin
    print(spent, harness.peak_bytes() / 1e6)


def batches_for(opened: Run, model: Model, needs: tuple[str, ...], voxel: float) -> Iterator[Batch]:
    """As the trainer reads them, in this process."""
    config = load_train_config(
        "annotation-free", None, None, [f"data={{voxel: {voxel}, max_points: {POINTS}}}"]
    )
    transform = FrameTransform(
        opened, opened.frames, needs, config.data,
        neighbours=model.backbone.neighbours, bounds=model.backbone.bounds,
    )  # fmt: skip
    return batches_of(
        BatchStream(opened, transform.fields, batch_size=FRAMES, epochs=9, transform=transform), workers=0
    )


def stepper(model: Model, batch: Batch) -> Callable[[], float]:
    """One step of training; gives its loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    device = batch.xyz.device

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with precision(device, "auto"):
            loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


class AsPublished(nn.Module):
    """The same weights, laid out as WaffleIron's authors do: (B, C, N) tokens, sparse products, 2D grids."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert isinstance(model.backbone, WaffleIron)
        self.model, self.backbone = model, model.backbone

    def embed(self, inputs: Tensor, neighbours: Tensor) -> Tensor:
        layers = self.backbone.embedding
        x = layers.norm(inputs)
        rows = (x[neighbours] - x[:, None]).flatten(0, 1)
        rows = layers.around_norm(layers.difference(layers.difference_norm(rows)))
        around = layers.around(torch.relu(rows)).view(*neighbours.shape, -1).amax(1)
        tokens: Tensor = layers.join(torch.cat([layers.own(x), around], 1))
        return tokens

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.neighbours is not None
        B, N = batch.frames, len(batch) // batch.frames
        tokens = self.embed(batch.inputs, batch.neighbours).view(B, N, -1).transpose(1, 2).contiguous()
        planes = []
        for axes, grid in zip(PLANES, self.backbone.grids, strict=True):
            plane = make_plane(batch.xyz, batch.frame, B, axes, self.backbone.low, grid, self.backbone.cell)
            size = grid[0] * grid[1]
            where = torch.stack([plane.cell, torch.arange(B * N)])
            mean = torch.sparse_coo_tensor(where, plane.share[:, 0], (B * size, B * N)).coalesce()
            planes.append((mean, plane.cell.view(B, N) - torch.arange(B)[:, None] * size, grid))
        for number, block in enumerate(self.backbone.blocks):
            mean, cell, grid = planes[number % 3]
            normal = block.spatial_norm(tokens.transpose(1, 2)).reshape(B * N, -1)
            flat = torch.sparse.mm(mean, normal).view(B, grid[0] * grid[1], -1)
            cells = flat.transpose(1, 2).reshape(B, -1, *grid).contiguous()
            for layer, conv in enumerate(block.convolutions):
                weight = conv.weight.contiguous()
                cells = nn.functional.conv2d(cells, weight, conv.bias, padding=1, groups=len(weight))
                cells = torch.relu(cells) if layer == 0 else cells
            read = cells.flatten(2).gather(2, cell[:, None].expand(-1, cells.shape[1], -1))
            tokens = tokens + read * block.spatial_scale[:, None]
            mixed = block.channel_norm(tokens.transpose(1, 2)).transpose(1, 2)
            for linear in (block.channels[0], block.channels[2]):
                mixed = nn.functional.conv1d(mixed, linear.weight.unsqueeze(2), linear.bias)
                mixed = torch.relu(mixed) if linear is block.channels[0] else mixed
            tokens = tokens + mixed * block.channel_scale[:, None]
        losses: dict[str, Tensor] = self.model.method(batch, tokens.transpose(1, 2).reshape(B * N, -1))
        return losses


def parts(model: Model, batch: Batch) -> dict[str, float]:
    """Seconds of each part of a step, forward and backward, all layers together."""
    backbone = model.backbone
    assert isinstance(backbone, WaffleIron)
    assert batch.neighbours is not None
    block, layers = backbone.blocks[0], len(backbone.blocks)
    planes = [
        make_plane(batch.xyz, batch.frame, batch.frames, axes, backbone.low, grid, backbone.cell)
        for axes, grid in zip(PLANES, backbone.grids, strict=True)
    ]
    tokens = torch.randn(len(batch), backbone.width, requires_grad=True)
    grids = [flatten(tokens, plane).detach().requires_grad_() for plane in planes]

    def convolve(cells: Tensor) -> Tensor:
        out: Tensor = block.convolutions[1](torch.relu(block.convolutions[0](cells)))
        return out

    each = {
        "embedding": (1, lambda: backbone.embedding(batch.inputs, batch.neighbours)),
        "head_and_losses": (1, lambda: model.method(batch, tokens)["loss"]),
        "channels": (layers, lambda: block.channels(block.channel_norm(tokens)) * block.channel_scale),
    }
    for plane, grid, name in zip(planes, grids, ("xy", "xz", "yz"), strict=True):
        times = len(range(("xy", "xz", "yz").index(name), layers, 3))
        each[f"cells_{name}"] = (times, lambda plane=plane: inflate(flatten(tokens, plane), plane))  # type: ignore[misc]
        each[f"convolutions_{name}"] = (times, lambda grid=grid: convolve(grid))  # type: ignore[misc]
    out = {}
    for name, (times, function) in each.items():
        seconds = []
        for _ in range(3):
            begin = time.process_time()
            result = function()
            result.backward(torch.ones_like(result))
            seconds.append(time.process_time() - begin)
        out[name] = round(times * min(seconds), 3)
    return out


def there_and_back(plane: Plane, tokens: Tensor) -> dict[str, Callable[[], Tensor]]:
    """One plane with gradients: ours and index_add."""
    B, H, W = plane.shape

    def ours() -> Tensor:
        return torch.autograd.grad(inflate(flatten(tokens, plane), plane).sum(), tokens)[0]

    def plain() -> Tensor:
        zeros = torch.zeros(B * H * W, tokens.shape[1])
        cells = zeros.index_add(0, plane.cell, tokens * plane.share)
        return torch.autograd.grad(cells[plane.cell].sum(), tokens)[0]

    return {"ours": ours, "baseline": plain}


def run(quick: bool) -> list[harness.Claim]:
    """Step, parts, loader."""
    torch.manual_seed(0)
    select_device("cpu", 1)
    config = load_train_config("annotation-free", "small")
    with tempfile.TemporaryDirectory() as folder:
        opened = city_run(Path(folder) / "run")
        model = make_model(config, info_of(opened))
        batch = next(batches_for(opened, model, ("label", "confidence"), 0.01))
        made = []
        loader = batches_for(opened, model, ("label", "confidence", "view_region", "region_feature"), 0.1)
        for _ in range(3 if quick else 8):
            begin = time.process_time()
            next(loader)
            made.append(time.process_time() - begin)
    assert len(batch) == FRAMES * POINTS
    nn.init.normal_(model.method.layer.weight, std=0.1)  # type: ignore[union-attr]
    baseline = AsPublished(model)
    loss, theirs = float(model(batch)["loss"].detach()), float(baseline(batch)["loss"].detach())
    times = harness.interleave(
        {"ours": stepper(model, batch), "baseline": stepper(baseline, batch)},  # type: ignore[arg-type]
        seconds=20 if quick else 90, min_rounds=2 if quick else 4, warmup=1, cpu_time=True,
    )  # fmt: skip
    step = statistics.median(times["ours"])
    plane = make_plane(
        batch.xyz,
        batch.frame,
        FRAMES,
        PLANES[0],
        model.backbone.low,
        model.backbone.grids[0],
        model.backbone.cell,
    )
    with threadpool_limits(1):  # as the steps are timed
        shares = parts(model, batch)
    pair = there_and_back(plane, torch.randn(len(batch), 128, requires_grad=True))
    equal = torch.allclose(pair["ours"](), pair["baseline"](), atol=1e-5)
    cells = harness.interleave(pair, seconds=4 if quick else 10, cpu_time=True)
    claims = [
        harness.faster(
            "trainer_step", times["ours"], times["baseline"], goal=1.0, unit="s",
            agreement={"losses_apart": abs(loss - theirs)} | shares,
            valid=abs(loss - theirs) < 1e-3,
        ),
        harness.faster(
            "trainer_flatten_inflate", cells["ours"], cells["baseline"], goal=1.2,
            agreement={"equal": equal}, valid=equal,
        ),
        harness.score(
            "trainer_loader", statistics.median(made) / step, goal=0.1, unit="share", lower_is_better=True,
            agreement={"batch_ms": round(1e3 * statistics.median(made), 1)},
        ),
    ]  # fmt: skip
    claims += growth(*((8, 16) if quick else (16, 128)))
    if torch.cuda.is_available():
        claims.append(on_gpu(batch))
    return claims


def on_gpu(batch: Batch) -> harness.Claim:
    """Steps per second of a GPU's size, plain and compiled, with memory."""
    device = torch.device("cuda")
    taxonomy = load_taxonomy("nuscenes16")
    whole = twice(batch).to(device)
    figures: dict[str, float] = {}
    for compiled in (False, True):
        model = make_model(load_train_config("annotation-free", "base"), CacheInfo(taxonomy, None, None)).to(
            device
        )
        if compiled:
            model.backbone.compile()
        step = stepper(model, whole)
        for _ in range(5):
            step()
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        for _ in range(20):
            step()
        torch.cuda.synchronize()
        figures["compiled" if compiled else "plain"] = 20 / (time.perf_counter() - begin)
        figures["memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return harness.score("trainer_gpu", figures["plain"], goal=None, unit="steps/s", agreement=figures)


def twice(batch: Batch) -> Batch:
    """Four frames of two."""
    N = len(batch)
    assert batch.label is not None
    assert batch.confidence is not None
    assert batch.neighbours is not None
    return Batch(
        frame_id=(*batch.frame_id, *batch.frame_id),
        xyz=batch.xyz.repeat(2, 1),
        inputs=batch.inputs.repeat(2, 1),
        frame=torch.cat([batch.frame, batch.frame + batch.frames]),
        label=batch.label.repeat(2),
        confidence=batch.confidence.repeat(2),
        neighbours=torch.cat([batch.neighbours, batch.neighbours + N]),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--epoch"]:
        one_epoch(Path(sys.argv[2]))
    else:
        harness.main("trainer", __doc__, run)
