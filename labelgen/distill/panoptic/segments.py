"""From the last layer's masks and classes to segments that do not overlap (P3Former's, FC-CLIP's rules)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from labelgen.distill.batch import IGNORE
from labelgen.distill.methods.answer import Segments
from labelgen.distill.panoptic.decoder import mean_look
from labelgen.distill.settings.panoptic import EnsembleSettings, InferenceSettings


def allowed_classes(learned: int, stuff: Sequence[int], classes: int, others: Sequence[int] = ()) -> Tensor:
    """(Q, C) bool: learned queries may be anything but base stuff, each fixed query is its own class.

    Args:
        learned: number of learned queries, which come first.
        stuff: class of each fixed query.
        classes: C.
        others: classes that learned queries may not be, either.
    """
    allowed = torch.zeros(learned + len(stuff), classes, dtype=torch.bool)
    allowed[:learned] = True
    allowed[:learned, [*stuff, *others]] = False
    allowed[torch.arange(len(stuff)) + learned, torch.tensor(list(stuff), dtype=torch.long)] = True
    return allowed


def find_segments(
    mask: Tensor, probability: Tensor, learned: int, thing: Tensor, settings: InferenceSettings
) -> Segments:
    """Segments of one frame.

    A query's class is its best one; its score is that probability, of learned queries times
    ``learned_weight``. Those above ``keep`` compete for every point with score times mask. A segment whose
    share of its own mask (what is above 1/2) is below ``overlap`` is dropped, and its points have no label.
    Segments of one stuff class are one.

    Args:
        mask: (Q, P) logits.
        probability: (Q, C) of the classes, 0 where a query may not be of a class.
        learned: number of learned queries, which come first.
        thing: (C,) bool.
        settings: thresholds.
    """
    P = mask.shape[1]
    sure, kind = probability.max(1)
    score = sure.clone()
    score[:learned] *= settings.learned_weight
    kept = (score > settings.keep).nonzero()[:, 0]
    label = torch.full((P,), IGNORE, device=mask.device)
    instance, nothing = torch.zeros_like(label), torch.zeros(P, device=mask.device)
    if not len(kept) or not P:
        return Segments(label, instance, nothing, nothing)
    share = mask[kept].sigmoid()
    value = share * score[kept, None]
    best = value.topk(min(2, len(kept)), dim=0)
    winner = best.indices[0]
    won = torch.bincount(winner, minlength=len(kept))
    enough = (won > 0) & (won >= settings.overlap * (share >= 0.5).sum(1))
    kind = kind[kept]
    number = torch.where(thing[kind], (enough & thing[kind]).cumsum(0), 0)
    there = enough[winner]
    lead = best.values[0] - (best.values[1] if len(kept) > 1 else 0)
    rows = torch.arange(P, device=mask.device)
    return Segments(
        label=torch.where(there, kind[winner], label),
        instance=torch.where(there, number[winner], instance),
        confidence=torch.where(there, sure[kept][winner] * share[winner, rows], nothing),
        margin=torch.where(there, lead.clamp(0, 1), nothing),
    )


def ensemble(
    logits: Tensor,
    cosines: Tensor,
    novel: Sequence[int],
    allowed: Tensor,
    settings: EnsembleSettings,
) -> Tensor:
    """FC-CLIP's geometric ensemble of two classifiers (Yu et al., NeurIPS 2023, eq. 7).

    ``p_in^(1 - a) p_out^a``, a of its own for base and novel classes, scaled to sum 1 over the allowed ones,
    times the probability that the query is anything, here the highest of its sigmoids (FC-CLIP: 1 - void).

    Args:
        logits: (Q, C) of the class embeddings; ``p_in`` is their softmax.
        cosines: (Q, C) of the image features in the predicted masks with the texts; ``p_out`` is their
            softmax at a temperature. Rows of NaN, masks without a seen point, leave ``p_in`` alone.
        novel: classes.
        allowed: (Q, C) bool.
        settings: exponents and temperature.

    Returns:
        (Q, C) probabilities, 0 where not allowed.
    """
    inside = logits.masked_fill(~allowed, -torch.inf)
    outside = (cosines / settings.temperature).masked_fill(~allowed, -torch.inf)
    exponent = logits.new_full((logits.shape[1],), settings.base)
    exponent[list(novel)] = settings.novel
    both = (1 - exponent) * inside.log_softmax(1) + exponent * outside.log_softmax(1)
    both = torch.where(cosines.isnan().any(1, keepdim=True), inside, both)
    both = both.masked_fill(~allowed, -torch.inf)
    return both.softmax(1) * inside.amax(1, keepdim=True).sigmoid()


def image_embedding(mask: Tensor, image: Tensor, seen: Tensor) -> Tensor:
    """(Q, D) L2-normalised mean image feature in each hard mask; NaN where a mask has no seen point.

    Args:
        mask: (Q, P) logits.
        image: (P, D) features.
        seen: (P,) bool, points that have one.
    """
    pooled = mean_look(mask, image, seen)
    return pooled.masked_fill(~pooled.any(1, keepdim=True), torch.nan)
