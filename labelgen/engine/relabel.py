"""Plans a run's relabelling: its text encoder, found again and compared, reads the new words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import stored
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.reclass import Relabel, check_voted
from labelgen.engine.voting import vote_settings
from labelgen.runs import Run
from labelgen.semantics import describe_encoder, make_encoder
from labelgen.semantics.prompts import normalise
from labelgen.semantics.settings import OpenClipSettings
from labelgen.semantics.strategies import caption_temperature

#: What a text encoder is recognised by.
IDENTITY = ("name", "weights")


def plan_relabel(
    run: Run, taxonomy: Taxonomy, checkpoint: str | None = None
) -> tuple[Relabel, dict[str, Any]]:
    """The operation that gives a run other classes, and attributes for its shards.

    Args:
        run: labelled, voted anew, or relabelled before.
        taxonomy: the new classes.
        checkpoint: of the text encoder, where it is not where the run found it.

    Raises:
        UserError: the run has no features, its labels come from elsewhere, or the text encoder is another.
    """
    check_voted(run, "relabel")
    if "retrieval" in _operations(run):
        raise UserError(
            f"{run.url} was refined by retrieval: relabel the run that it was made from, then refine that"
        )
    written = _written(run)
    settings = _settings(run, checkpoint)
    same = taxonomy.digest() == run.taxonomy.digest()
    vote, projection = vote_settings(run)
    if same:  # the stored scores are what the words give, whatever device the run was made on
        operation = Relabel(taxonomy, None, str(written["weights"]), 0.0, "both", 0.0, vote, projection)
        return operation, {}
    encoder: Any = run_encoder(run, checkpoint)
    vocabulary = encoder.vocabulary(taxonomy)
    operation = Relabel(
        taxonomy,
        vocabulary,
        str(written["weights"]),
        encoder.temperature,
        settings.caption_strategy,
        caption_temperature(settings.caption_temperature, settings.caption_strategy, encoder.temperature),
        vote,
        projection,
    )
    attributes = {
        "class_names": taxonomy.names,
        "text_encoder": dict(written),
        "text_embeddings": normalise(vocabulary.class_embedding()),
    }
    return operation, attributes


def run_encoder(run: Run, checkpoint: str | None = None) -> Any:
    """The text encoder that a run's features were made for, on the CPU.

    Raises:
        UserError: it cannot be had, or is another than the run says.
    """
    written, settings = _written(run), _settings(run, checkpoint)
    found = describe_encoder(settings).to_dict()
    if any(str(found[key]) != str(written.get(key)) for key in IDENTITY):
        raise UserError(
            f"the features of {run.url} were made for {written.get('name')} with weights "
            f"{str(written.get('weights'))[:12]}, and this is {found['name']} with weights "
            f"{found['weights'][:12]}: its texts cannot be compared with them; give the right weights "
            f"with --checkpoint"
        )
    return make_encoder(settings, "cpu")


def _settings(run: Run, checkpoint: str | None) -> OpenClipSettings:
    settings = stored(OpenClipSettings, run.info.config, "semantics", run.url)
    return settings.model_copy(update={"checkpoint": checkpoint}) if checkpoint else settings


def _written(run: Run) -> Mapping[str, Any]:
    """What a run's shards say of the text encoder."""
    run.check_labelled()
    encoder = run.frame(run.frames[0]).attributes.get("text_encoder")
    if not isinstance(encoder, Mapping) or "weights" not in encoder:
        raise UserError(
            f"{run.url} holds no region features of a text encoder (labels from elsewhere?): nothing to "
            "read other classes from"
        )
    return encoder


def _operations(run: Run) -> set[str]:
    """Of a derived run and its parents."""
    return set() if run.parent is None else {run.operation} | _operations(run.parent)
