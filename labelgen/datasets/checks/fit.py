"""Do the settings of a run belong to its data set?"""

from __future__ import annotations

from collections.abc import Iterator

from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.core.taxonomy_source import shipped_names
from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.registry import Odd, check


@check("taxonomy-fits", "plan", refuse=True)
def taxonomy_fits(plan: PlanInput) -> Iterator[Odd]:
    """The classes belong to another data set: labels could not be scored or exported in this one's format."""
    name = plan.settings.get("taxonomy")
    if not name:
        return
    taxonomy = load_taxonomy(name)
    known = set(plan.info.categories) or _home(plan)
    strangers = [one for one in taxonomy.classes if one.source and not known.intersection(one.source)]
    if not known or not strangers:
        return
    with_truth = bool(plan.info.categories) and any(frame.label_path for frame in plan.frames)
    if with_truth or len(strangers) == len(taxonomy):
        few = ", ".join(one.name for one in strangers[:3])
        suits = plan.info.taxonomy
        yield Odd(
            f"taxonomy {taxonomy.name}: data set {plan.info.dataset} has no category for {len(strangers)} of "
            f"its {len(taxonomy)} classes ({few}{' …' if strangers[3:] else ''})",
            f"the one for this data set is {suits} (--set taxonomy={suits})"
            if suits
            else "choose one that was made for this data set",
        )


def _home(plan: PlanInput) -> set[str]:
    """Categories of a data set that comes without tables of them: those of its own taxonomy."""
    return _sources(load_taxonomy(plan.info.taxonomy)) if plan.info.taxonomy in shipped_names() else set()


def _sources(taxonomy: Taxonomy) -> set[str]:
    return {category for one in taxonomy.classes for category in one.source}
