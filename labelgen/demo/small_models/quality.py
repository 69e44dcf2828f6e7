"""How good the small models are, against the simulated city's exact truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import Regions
from labelgen.core.taxonomy import Taxonomy
from labelgen.demo.small_models.captions import (
    HELD_OUT_COLOURS,
    HELD_OUT_WORDS,
    TEMPLATES,
    VOID_WORDS,
    caption,
    class_of,
    phrases_of,
)
from labelgen.demo.small_models.crop_bank import SKY
from labelgen.demo.small_models.pictures import Picture
from labelgen.geometry.rle import label_counts
from labelgen.regions.base import RegionProposer, regions_of_labels
from labelgen.regions.frame import join_cameras
from labelgen.semantics.base import Captioner
from labelgen.semantics.openclip import OpenClipEncoder
from labelgen.semantics.prompts import Vocabulary, build_vocabulary, normalise

#: Pixels of the smallest true segment that counts, at 1600 x 900.
SMALLEST = 400
#: The same for captions.
SMALLEST_CAPTIONED = 1000


def mask_quality(proposer: RegionProposer, pictures: Sequence[Picture]) -> dict[str, float]:
    """How many true segments the proposed masks find.

    Args:
        proposer: proposes without prompts.
        pictures: with their truth, at 1600 x 900.

    Returns:
        ``found``: share of the true segments above `SMALLEST` pixels that some mask matches at IoU >= 0.5;
        ``best_iou``: mean over them of the best IoU; ``pixels_found``: as ``found``, by area;
        ``found_large``: as ``found``, of segments above 4 x `SMALLEST`; ``masks``: per picture.
    """
    best, area, masks = [], [], 0
    for picture in pictures:
        regions = proposer.propose(picture.rgb)
        masks += len(regions)
        areas = np.bincount(picture.objects.ravel())
        overlap = label_counts(regions.rle, picture.objects, len(areas))
        union = regions.area[:, None] + areas[None] - overlap
        iou = (overlap / np.maximum(union, 1)).max(axis=0, initial=0.0)
        for number in np.flatnonzero(areas > SMALLEST):
            best.append(iou[number])
            area.append(areas[number])
    iou, weight = np.asarray(best), np.asarray(area)
    large = weight > 4 * SMALLEST
    return {
        "found": float((iou >= 0.5).mean()),
        "best_iou": float(iou.mean()),
        "pixels_found": float(np.average(iou >= 0.5, weights=weight)),
        "found_large": float((iou[large] >= 0.5).mean()),
        "masks": masks / len(pictures),
        "segments": len(best) / len(pictures),
    }


def true_regions(picture: Picture) -> tuple[Regions, NDArray[np.int64]]:
    """The true segments above `SMALLEST` pixels as regions of one camera, and their object numbers."""
    areas = np.bincount(picture.objects.ravel())
    numbers = np.flatnonzero(areas > SMALLEST)
    table = np.full(len(areas), -1, np.int64)
    table[numbers] = np.arange(len(numbers))
    return join_cameras([regions_of_labels(table[picture.objects], len(numbers))]), numbers


def region_quality(
    encoder: OpenClipEncoder, pictures: Sequence[Picture], taxonomy: Taxonomy
) -> dict[str, float]:
    """How well regions with true masks are named.

    Returns:
        ``accuracy``: share of the true segments of some class that get it; ``mean_class``: mean over
        classes; ``void``: share of sky and own car that get none; ``held_out_words``,
        ``held_out_words_mean_class``: accuracies with words never read in training in place of the
        taxonomy's; ``held_out_colours``: of objects with a colour that no caption gave to their class,
        the share for which "<colour> <class>" wins over all colours and things.
    """
    features, labels, said, void = [], [], [], []
    for picture in pictures:
        regions, numbers = true_regions(picture)
        features.append(encoder.features([picture.rgb], regions))
        for number in numbers:
            words = picture.words.get(int(number))
            category = words.category if words else "sky"
            labels.append(class_of(category, taxonomy))
            void.append(category in ("sky", "vehicle.ego"))
            said.append(words)
    feature, label = np.concatenate(features), np.asarray(labels)
    known, sky = label >= 0, np.asarray(void)
    got = _best(encoder.vocabulary(taxonomy), feature, encoder.temperature)
    held_out = build_vocabulary(encoder, _with_words(taxonomy, HELD_OUT_WORDS))
    other = _best(held_out, feature, encoder.temperature)
    return {
        "accuracy": float((got == label)[known].mean()),
        "mean_class": _mean_class(got, label),
        "void": float((got[sky] == 255).mean()) if sky.any() else float("nan"),
        "held_out_words": float((other == label)[known].mean()),
        "held_out_words_mean_class": _mean_class(other, label),
        "held_out_colours": _colour_accuracy(encoder, feature, said, label, taxonomy),
        "regions": int(known.sum()),
    } | {f"accuracy_{n}": float((got == label)[label == c].mean()) for c, n in _present(taxonomy, label)}


def caption_quality(
    captioner: Captioner, pictures: Sequence[Picture], taxonomy: Taxonomy
) -> dict[str, float]:
    """How well regions with true masks are described.

    What a caption calls its region is the longest of all phrases that it contains, wherever the region
    lies ("on the grass") left aside.

    Returns:
        ``noun``: share of the captions of true segments above `SMALLEST_CAPTIONED` pixels that call the
        object what its class may be called; ``own_noun``: what the object itself is called; ``mean_class``:
        as ``noun``, mean over classes; ``colour``: with the right colour, of objects that have one;
        ``captions``: number of them; ``distinct``: number of different ones.
    """
    said = [words for picture in pictures for words in (*picture.words.values(), SKY)]
    known = {phrase for words in said for phrase in phrases_of(words, taxonomy)}
    known |= {word for spec in taxonomy.classes for word in spec.words}
    places = {words.place for words in said} - {""}
    right, own, coloured, label, captions = [], [], [], [], []
    for picture in pictures:
        regions, numbers = true_regions(picture)
        rows = np.flatnonzero(regions.area > SMALLEST_CAPTIONED)
        texts = captioner.caption([picture.rgb], regions, rows)
        for row in rows:
            words = picture.words.get(int(numbers[row]), SKY)
            called = _called(texts[row], known, places)
            fits = phrases_of(words, taxonomy)
            right.append(called in fits)
            own.append(called in (fits if words.category in VOID_WORDS else (words.noun, *words.synonyms)))
            if words.colour:
                coloured.append(words.colour in texts[row].split())
            label.append(class_of(words.category, taxonomy))
            captions.append(texts[row])
    got, number = np.asarray(right), np.asarray(label)
    classes = np.unique(number[number >= 0])
    return {
        "noun": float(got.mean()),
        "own_noun": float(np.mean(own)),
        "mean_class": float(np.mean([got[number == c].mean() for c in classes])),
        "colour": float(np.mean(coloured)) if coloured else float("nan"),
        "captions": len(captions),
        "distinct": len(set(captions)),
    }


def _called(text: str, phrases: Collection[str], places: Collection[str]) -> str:
    """The longest of the phrases in a caption, once the place at its end is cut off; empty for none."""
    text = " ".join(text.lower().strip(" .").split())
    for place in sorted(places, key=len, reverse=True):
        text = text.removesuffix(f" {place}")
    found = [phrase for phrase in phrases if f" {phrase.lower()} " in f" {text} "]
    return max(found, key=lambda phrase: (len(phrase), phrase), default="")


def _present(taxonomy: Taxonomy, label: NDArray[np.int64]) -> Iterator[tuple[int, str]]:
    for number, name in enumerate(taxonomy.names):
        if (label == number).any():
            yield number, name


def _best(vocabulary: Vocabulary, feature: NDArray[np.float32], temperature: float) -> NDArray[np.uint8]:
    return vocabulary.score(feature.astype(np.float16), temperature)[1]


def _mean_class(got: NDArray[np.uint8], label: NDArray[np.int64]) -> float:
    return float(np.mean([(got == c)[label == c].mean() for c in np.unique(label[label >= 0])]))


def _with_words(taxonomy: Taxonomy, words: dict[str, tuple[str, ...]]) -> Taxonomy:
    """The taxonomy with other words for its classes."""
    content = taxonomy.to_dict()
    for entry in content["classes"]:
        entry["words"] = list(words[entry["name"]])
    return Taxonomy.from_dict(content)


def _colour_accuracy(
    encoder: OpenClipEncoder,
    feature: NDArray[np.float32],
    said: Sequence[Any],
    label: NDArray[np.int64],
    taxonomy: Taxonomy,
) -> float:
    colours = sorted({words.colour for words in said if words and words.colour})
    things = [spec for spec in taxonomy.classes if spec.thing]
    pairs = [(colour, spec.name) for colour in colours for spec in things]
    texts = [
        caption(template, spec.words[0], colour)
        for colour in colours
        for spec in things
        for template in TEMPLATES
    ]
    text = normalise(encoder.embed(texts).reshape(len(pairs), len(TEMPLATES), -1).mean(axis=1))
    rows = [
        k
        for k, words in enumerate(said)
        if words and label[k] >= 0 and (words.colour, taxonomy.names[label[k]]) in HELD_OUT_COLOURS
    ]
    if not rows:
        return float("nan")
    best = (feature[rows] @ text.T).argmax(axis=1)
    right = [pairs[b] == (said[k].colour, taxonomy.names[label[k]]) for k, b in zip(rows, best, strict=True)]
    return float(np.mean(right))
