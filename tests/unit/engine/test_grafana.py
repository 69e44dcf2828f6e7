"""The dashboard asks for metrics that exist, by tags that they have."""

import json
import re
from pathlib import Path

from labelgen.engine.ray.prometheus import METRICS

BOARD = Path(__file__).resolve().parents[3] / "cluster" / "grafana.json"
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def test_every_panel_asks_for_what_there_is():
    board = json.loads(BOARD.read_text())
    known = {
        f"ray_labelgen_{name}{ending}": {"run", "le", *tags}
        for name, (kind, _, tags) in METRICS.items()
        for ending in ENDINGS[kind]
    }
    asked = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"ray_\w+", target["expr"])
            assert names, panel["title"]
            tags = set(re.findall(r"(\w+)=~?\"", target["expr"]))
            for group in re.findall(r"by \(([^)]*)\)", target["expr"]):
                tags |= {tag.strip() for tag in group.split(",")}
            tags |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            for name in names:
                assert name in known, name
                assert tags <= known[name], (panel["title"], tags)
            asked.update(names)
    shown = {name for name in METRICS if any(f"ray_labelgen_{name}" in one for one in asked)}
    assert shown == set(METRICS), "a metric that nobody sees"
