"""A frame's points for the report, to be turned with the mouse: one canvas and a script without libraries."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy import Taxonomy
from labelgen.inspection.markup import Html, join, tag

SCRIPT = """
const canvas = document.getElementById("scatter"), draw = canvas.getContext("2d");
const bytes = name => Uint8Array.from(atob(canvas.dataset[name] || ""), c => c.charCodeAt(0));
const xyz = new Int16Array(bytes("xyz").buffer), count = xyz.length / 3;
const palette = JSON.parse(canvas.dataset.palette), pick = document.getElementById("scatter-by");
const values = {label: bytes("label"), confidence: bytes("confidence"), truth: bytes("truth")};
let yaw = -2.2, pitch = 0.9, zoom = 1.0;
function paint() {
  const W = canvas.width, H = canvas.height, image = draw.createImageData(W, H), pixels = image.data;
  const depth = new Float32Array(W * H).fill(1e9), value = values[pick.value];
  const c = Math.cos(yaw), s = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
  const scale = zoom * H / 9000;
  for (let i = 0; i < count; i++) {
    const x = xyz[3 * i], y = xyz[3 * i + 1], z = xyz[3 * i + 2];
    const u = c * x - s * y, v = s * x + c * y, w = cp * v - sp * z;
    const px = (W / 2 + scale * u) | 0, py = (H / 2 - scale * (sp * v + cp * z)) | 0;
    if (px < 1 || py < 1 || px >= W - 1 || py >= H - 1) continue;
    const k = value[i];
    const color = pick.value == "confidence"
      ? (values.label[i] == 255 ? palette[255] : [205 - k * 0.7, 60 + k * 0.2, 40 + k * 0.55]) : palette[k];
    for (let dy = 0; dy < 2; dy++) for (let dx = 0; dx < 2; dx++) {
      const at = (py + dy) * W + px + dx;
      if (w >= depth[at]) continue;
      depth[at] = w;
      pixels[4 * at] = color[0]; pixels[4 * at + 1] = color[1]; pixels[4 * at + 2] = color[2];
      pixels[4 * at + 3] = 255;
    }
  }
  draw.putImageData(image, 0, 0);
  canvas.dataset.painted = count;
}
canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
canvas.addEventListener("pointermove", event => {
  if (!event.buttons) return;
  yaw += event.movementX * 0.006;
  pitch = Math.min(1.57, Math.max(0, pitch + event.movementY * 0.006));
  paint();
});
canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom = Math.min(20, Math.max(0.2, zoom * Math.exp(-event.deltaY * 0.001)));
  paint();
}, {passive: false});
pick.addEventListener("change", paint);
paint();
"""
#: For the page's content security policy: this script and no other.
SCRIPT_SOURCE = "'sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode() + "'"
_NAMES = {"label": "label", "confidence": "confidence", "truth": "truth"}


def scatter_html(
    caption: str, xyz: NDArray[np.float32], values: Mapping[str, NDArray[np.uint8]], taxonomy: Taxonomy
) -> Html:
    """The canvas with its points, to be followed by `script_html`.

    Args:
        caption: below it.
        xyz: (N, 3) metres; points that are not finite or over 300 m away are left out.
        values: (N,) uint8 each: ``label``, ``confidence``, and ``truth`` where there is some.
        taxonomy: names and colours.
    """
    use = np.isfinite(xyz).all(axis=1) & (np.abs(xyz) < 300).all(axis=1)
    colors = taxonomy.colors()
    colors[UNLABELLED] = (150, 154, 160)
    data = {f"data_{name}": _base64(array[use]) for name, array in values.items()}
    canvas = tag(
        "canvas",
        id="scatter",
        width=1100,
        height=620,
        data_xyz=_base64(np.round(xyz[use] * 100).astype("<i2")),
        data_palette=json.dumps(colors.tolist()),
        **data,
    )
    options = (tag("option", _NAMES[name], value=name) for name in values)
    choice = tag("p", "colour: ", tag("select", *options, id="scatter-by"), class_="muted")
    text = f"{caption}. Drag to turn, scroll to zoom."
    return join(tag("h2", "One frame in space"), choice, tag("figure", canvas, tag("figcaption", text)))


def script_html() -> Html:
    """The script."""
    return tag("script", Html(SCRIPT))


def _base64(values: NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
