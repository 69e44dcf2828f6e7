"""Crops of the objects in training pictures, with all that may be said about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.core.taxonomy import Taxonomy
from labelgen.demo.small_models.captions import VOID_WORDS, class_of, colour_is_held_out, noun_of, phrases_of
from labelgen.demo.small_models.pictures import ObjectWords, Picture, PictureStore
from labelgen.geometry.rle import area_and_box, encode, parse
from labelgen.semantics.crops import region_crop

SMALLEST = 60  #: pixels of a stored picture; a quarter of the pixels that the cameras would give

#: One more disturbed crop for every so many pixels of an object, up to so many: proposals cut large
#: surfaces into many regions.
PIXELS_PER_CROP, MOST_CROPS = 6000, 4

#: Share of the disturbed masks that are a window of the object, as superpixels and masks of parts are; the
#: window's sides and the pixels that it holds at least.
FRAGMENTS, FRAGMENT_SIDE, FRAGMENT_SMALLEST = 0.65, (22.0, 90.0), 40

#: Half of the crops show more around the object: their side is at least so many pixels of a stored picture.
WIDE = (80.0, 200.0)

#: Crops are drawn moved by up to this share of their side.
SHIFT = 1 / 16

SKY = ObjectWords(0, "sky", "sky", (), "")


@dataclass(frozen=True)
class CropBank:
    """N crops.

    Attributes:
        crops: (N, S, S, 3) uint8.
        cells: (N, G, G) int8 class at the centre of each patch of the image tower; the number of classes
            for void (sky, own car), -1 for none of both.
        label: (N,) class, -1 for none.
        fits: (N, P) bool, which of the phrases may be said of a crop.
        colour, place, action: (N,) index into the lists of words; -1 for none, or held out for colours.
        phrases, colours, places, actions: the words.
        class_phrases: per class, the phrases that may be said of some crop of it.
        area: (N,) pixels of the object in the stored picture.
        exact: (N,) bool, whether the crop shows the true mask, not a disturbed one.
        true_colour: (N,) as colour, held out or not.
        noun: (N,) index into the nouns, what one would call the object first.
        nouns: the words.
    """

    crops: NDArray[np.uint8]
    cells: NDArray[np.int8]
    label: NDArray[np.int64]
    fits: NDArray[np.bool_]
    colour: NDArray[np.int64]
    place: NDArray[np.int64]
    action: NDArray[np.int64]
    phrases: list[str]
    colours: list[str]
    places: list[str]
    actions: list[str]
    class_phrases: list[list[str]]
    area: NDArray[np.int64]
    exact: NDArray[np.bool_]
    true_colour: NDArray[np.int64]
    noun: NDArray[np.int64]
    nouns: list[str]

    def draw(
        self, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Some crops, half of them mirrored, moved by up to `SHIFT` of their side.

        Returns:
            (B, S, S, 3) uint8 and (B, G, G) int8 cells.
        """
        B, S = len(rows), self.crops.shape[1]
        mirrored = rng.random(B) < 0.5
        shift = rng.integers(-int(S * SHIFT), int(S * SHIFT) + 1, (2, B, 1))
        y, x = (np.clip(np.arange(S) + axis, 0, S - 1) for axis in shift)
        x[mirrored] = x[mirrored, ::-1]
        cells = self.cells[rows]
        cells[mirrored] = cells[mirrored, :, ::-1]
        return self.crops[rows[:, None, None], y[:, :, None], x[:, None, :]], cells


def cut_crops(
    store: PictureStore,
    taxonomy: Taxonomy,
    *,
    size: int,
    grid: int,
    mean: tuple[float, float, float],
    scale: float,
    background: float,
    disturb: bool,
    smallest: int = SMALLEST,
    advance: Callable[[], None] = lambda: None,
) -> CropBank:
    """Cut every object of every picture out, with its true mask and, if asked, with disturbed ones.

    Args:
        store: the pictures.
        taxonomy: classes and their words.
        size: pixels per side of a crop.
        grid: patches per side of a crop.
        mean: RGB in 0..255, of what is dimmed away.
        scale: side of the crop over the region's longer side; disturbed crops vary it.
        background: share of the surroundings that stays visible.
        disturb: cut more crops of each object whose masks are grown, shrunk, cut off or windows of it, as
            proposals are.
        smallest: pixels of the smallest object.
        advance: called once per picture.
    """
    pixels = bytearray()  # gigabytes: grows without a second copy
    cells, said, areas, exact = [], [], [], []
    for number in range(len(store)):
        picture, rng = store[number], np.random.default_rng([2, number])
        classes = _class_map(picture, taxonomy)
        for key, area in _objects(picture, smallest):
            mask = picture.objects == key
            masks = [(mask, scale)]
            for _ in range(min(1 + area // PIXELS_PER_CROP, MOST_CROPS) if disturb else 0):
                change = _fragment if rng.random() < FRAGMENTS else _disturbed
                masks.append((change(mask, rng), scale * rng.uniform(0.85, 1.2)))
            for k, (variant, variant_scale) in enumerate(masks):
                least = rng.uniform(*WIDE) if disturb and rng.random() < 0.5 else 0.0
                code = (encode(variant),)
                box = area_and_box(code, *mask.shape)[1][0]
                pixels += region_crop(
                    picture.rgb,
                    parse(code, *mask.shape).ends,
                    box,
                    size=size,
                    scale=variant_scale,
                    background=background,
                    mean=mean,
                    least=least,
                ).tobytes()
                cells.append(_cells(classes, box, variant_scale, least, grid))
                said.append(picture.words.get(key, SKY))
                areas.append(area)
                exact.append(k == 0)
        advance()
    phrases = sorted({phrase for words in said for phrase in phrases_of(words, taxonomy)})
    number_of = {phrase: k for k, phrase in enumerate(phrases)}
    fits = np.zeros((len(said), len(phrases)), bool)
    for row, words in enumerate(said):
        fits[row, [number_of[phrase] for phrase in phrases_of(words, taxonomy)]] = True
    colours, true_colour = _numbers([words.colour for words in said])
    places, place = _numbers([words.place for words in said])
    actions, action = _numbers([words.action for words in said])
    nouns, noun = _numbers([noun_of(words, taxonomy) for words in said])
    label = np.array([class_of(words.category, taxonomy) for words in said])
    hidden = np.array([colour_is_held_out(words.colour, words.category, taxonomy) for words in said], bool)
    return CropBank(
        crops=np.frombuffer(pixels, np.uint8).reshape(-1, size, size, 3),
        cells=np.stack(cells),
        label=label,
        fits=fits,
        colour=np.where(hidden, -1, true_colour),
        place=place,
        action=action,
        phrases=phrases,
        colours=colours,
        places=places,
        actions=actions,
        class_phrases=[
            [phrases[k] for k in np.flatnonzero(fits[label == c].any(axis=0))] or list(spec.words)
            for c, spec in enumerate(taxonomy.classes)
        ],
        area=np.array(areas),
        exact=np.array(exact),
        true_colour=true_colour,
        noun=noun,
        nouns=nouns,
    )


def _objects(picture: Picture, smallest: int) -> list[tuple[int, int]]:
    """(object, area) of all objects of at least ``smallest`` pixels."""
    areas = np.bincount(picture.objects.ravel())
    return [(int(key), int(areas[key])) for key in np.flatnonzero(areas >= smallest)]


def _class_map(picture: Picture, taxonomy: Taxonomy) -> NDArray[np.int8]:
    """(H, W) class of every pixel, as in `CropBank.cells`."""
    table = np.full(int(picture.objects.max()) + 1, -1, np.int8)
    table[0] = len(taxonomy)
    for key, words in picture.words.items():
        table[key] = len(taxonomy) if words.category in VOID_WORDS else class_of(words.category, taxonomy)
    return table[picture.objects]


def _cells(
    classes: NDArray[np.int8], box: NDArray[np.float32], scale: float, least: float, grid: int
) -> NDArray[np.int8]:
    """Classes at the centres of the patches of a crop (the same square as `region_crop` cuts)."""
    side = max(max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0) * scale, least)
    centre = np.array([box[1] + box[3], box[0] + box[2]]) / 2
    steps = ((np.arange(grid) + 0.5) / grid - 0.5) * side
    y, x = (np.floor(middle + steps).astype(int) for middle in centre)
    rows, columns = y.clip(0, classes.shape[0] - 1), x.clip(0, classes.shape[1] - 1)
    cells: NDArray[np.int8] = classes[rows[:, None], columns].copy()
    cells[(y < 0) | (y >= classes.shape[0])] = -1
    cells[:, (x < 0) | (x >= classes.shape[1])] = -1
    return cells


def _numbers(words: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Sorted distinct words and each entry's index among them, -1 for the empty word."""
    distinct = sorted(set(words) - {""})
    table = {word: k for k, word in enumerate(distinct)} | {"": -1}
    return distinct, np.array([table[word] for word in words], np.int64)


def _disturbed(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask as a proposer might give it: blocky, off at the edges, with a part cut off."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    out = mask.copy()
    if rng.random() < 0.5:  # keep 50 to 90 % of the box along one axis
        keep = rng.uniform(0.5, 0.9)
        if rng.random() < 0.5:
            cut = round((bottom - top) * keep)
            out[slice(top + cut, bottom) if rng.random() < 0.5 else slice(top, bottom - cut)] = False
        else:
            cut = round((right - left) * keep)
            out[:, slice(left + cut, right) if rng.random() < 0.5 else slice(left, right - cut)] = False
    shift = rng.integers(-3, 4, 2)
    moved = np.roll(out, tuple(shift), axis=(0, 1))
    out = (out | moved) if rng.random() < 0.5 else (out & moved)
    return out if out.any() else mask


def _fragment(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """What a window somewhere on the mask holds of it; the mask itself if that is too little."""
    pixel = rng.choice(np.flatnonzero(mask))
    size = rng.uniform(*FRAGMENT_SIDE, 2)
    corner = np.array(divmod(int(pixel), mask.shape[1])) - size * rng.random(2)
    begin, end = np.maximum(corner, 0).astype(int), np.ceil(corner + size).astype(int)
    window = slice(begin[0], end[0]), slice(begin[1], end[1])
    out = np.zeros_like(mask)
    out[window] = mask[window]
    return out if out.sum() > FRAGMENT_SMALLEST else mask
