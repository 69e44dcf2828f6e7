"""The city that a request for the demo needs."""

from __future__ import annotations

from collections.abc import Callable

from labelgen.demo.world import build
from labelgen.engine.planning import DEMO_ROOT, Request, resolve_config


def build_demo(request: Request, on_step: Callable[[int, int, str], None]) -> None:
    """Build the simulated city.

    Args:
        request: its configuration says how much; its data root, where.
        on_step: called with (keyframes done, keyframes in all, text).

    Raises:
        UserError: impossible sizes, or the disk is full.
    """
    demo = resolve_config(request).demo
    build(
        request.dataroot or DEMO_ROOT,
        scenes=demo.scenes,
        frames=demo.frames,
        seed=demo.seed,
        image_size=demo.image_size,
        progress=on_step,
    )
