"""What other packages add to labelgen's registries, and whether it can be used."""

from __future__ import annotations

from importlib.metadata import entry_points

from labelgen.core.registry import PlugIn
from labelgen.datasets.registry import DATASETS
from labelgen.distill.registry import METHODS, NETWORKS
from labelgen.exports.registry import FORMATS
from labelgen.regions.registry import REGIONS
from labelgen.semantics.registry import CAPTIONERS, SEMANTICS

REGISTRIES = (DATASETS, REGIONS, SEMANTICS, CAPTIONERS, FORMATS, METHODS, NETWORKS)


def plug_ins() -> list[PlugIn]:
    """All that are found, each imported and looked at."""
    return [one for registry in REGISTRIES for one in registry.plug_ins()]


def plug_in_packages() -> dict[str, str]:
    """{package: version} of those that add something; imports none of them."""
    groups = {registry.group for registry in REGISTRIES}
    points = [point for group in groups for point in entry_points(group=group)]
    return {point.dist.name: point.dist.version for point in points if point.dist}
