"""Text features of a taxonomy's words by the encoder that a run was labelled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import checked
from labelgen.core.taxonomy import Taxonomy
from labelgen.semantics.prompts import Vocabulary
from labelgen.semantics.registry import describe_encoder
from labelgen.semantics.settings import OpenClipSettings


def load_vocabulary(
    semantics: Mapping[str, Any],
    text_encoder: object,
    taxonomy: Taxonomy,
    otherwise: str = ", or train with vocabulary=classes",
) -> Vocabulary:
    """Load the run's text encoder and encode the taxonomy's words.

    Args:
        semantics: that section of the run's configuration.
        text_encoder: attribute of the run's shards: what the features in it were made with.
        taxonomy: of the run.
        otherwise: what else a user can do without it, the end of the errors.

    Raises:
        UserError: the run does not say what it was labelled with, or the weights are not here, or others.
    """
    from labelgen.semantics.openclip import OpenClipEncoder

    if not isinstance(text_encoder, Mapping):
        raise UserError("the run does not say which text encoder it was labelled with; label it anew")
    try:
        config = checked(OpenClipSettings, semantics, "its configuration")
        info = describe_encoder(config)
        if info.weights == text_encoder.get("weights"):
            return OpenClipEncoder(config, device="cpu").vocabulary(taxonomy)
    except UserError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the run's text encoder, for the features of the taxonomy's words, cannot be loaded ({reason}); "
            f"fetch its weights with labelgen models prefetch{otherwise}"
        ) from error
    raise UserError(
        f"the text encoder {info.name} has other weights here than when the run was labelled; "
        f"label the run anew{otherwise}"
    )
