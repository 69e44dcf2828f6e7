"""What the demo CLIP reads in training: the phrases that fit an object, and what is held out."""

from __future__ import annotations

from labelgen.core.taxonomy import Taxonomy
from labelgen.demo.small_models.pictures import ObjectWords

#: Sky and the car that carries the cameras; they compete with the classes and lose.
VOID_WORDS = {
    "sky": ("sky", "cloud", "clouds in the sky"),
    "vehicle.ego": ("hood of the own car", "bonnet of the own car", "ego vehicle"),
}

#: Never read in training, made of words that are; one more way to ask for a class.
HELD_OUT_WORDS: dict[str, tuple[str, ...]] = {
    "barrier": ("plastic road barrier", "traffic barricade"),
    "bicycle": ("person on a bike", "parked bike"),
    "bus": ("articulated city bus", "double-decker coach"),
    "car": ("estate automobile", "hatchback car"),
    "construction_vehicle": ("construction excavator", "mobile construction machine"),
    "motorcycle": ("scooter motorbike", "person on a motorbike"),
    "pedestrian": ("police person", "pedestrian child"),
    "traffic_cone": ("road cone", "traffic pylon"),
    "trailer": ("truck trailer", "utility lorry trailer"),
    "truck": ("flatbed lorry", "box lorry"),
    "driveable_surface": ("asphalt street", "road carriageway"),
    "other_flat": ("tram rails", "canal water"),
    "sidewalk": ("paved footpath", "paved sidewalk"),
    "terrain": ("grass lawn", "dirt terrain"),
    "manmade": ("office tower", "house wall"),
    "vegetation": ("fir conifer", "leafy bush"),
}

#: Colour and class that no caption names together.
HELD_OUT_COLOURS: tuple[tuple[str, str], ...] = (
    ("green", "truck"),
    ("orange", "car"),
    ("yellow", "bus"),
    ("red", "bicycle"),
    ("blue", "motorcycle"),
    ("purple", "pedestrian"),
)

#: Templates besides the taxonomy's; {} is the phrase.
TEMPLATES = ("{}", "a {}.", "the {} in the picture", "a small {}")


def class_of(category: str, taxonomy: Taxonomy) -> int:
    """Class of a general category; -1 for what belongs to no class."""
    for spec in taxonomy.classes:
        if category in spec.source:
            return spec.id
    return -1


def phrases_of(words: ObjectWords, taxonomy: Taxonomy) -> list[str]:
    """All phrases that fit an object: its own words, and those of its class that are not held out.

    A class's words are used for all of its objects ("excavator" for every construction vehicle): the
    city knows fewer kinds than the taxonomy has words, and a word without a meaning would win at random.
    Words that name a rider are the exception.
    """
    if words.category in VOID_WORDS:
        return list(VOID_WORDS[words.category])
    own = [words.noun, *words.synonyms]
    number = class_of(words.category, taxonomy)
    if number < 0:
        return own
    spec = taxonomy.classes[number]
    hidden = HELD_OUT_WORDS.get(spec.name, ())
    rider = any("cyclist" in word or "rider" in word for word in own)
    general = [word for word in spec.words if word not in hidden and (rider or not _names_rider(word))]
    return list(dict.fromkeys([*own, *general]))


def noun_of(words: ObjectWords, taxonomy: Taxonomy) -> str:
    """The first word for an object: its noun if captions use it, else the first phrase that fits."""
    phrases = phrases_of(words, taxonomy)
    return words.noun if words.noun in phrases else phrases[0]


def _names_rider(word: str) -> bool:
    return "riding" in word or "cyclist" in word


def colour_is_held_out(colour: str, category: str, taxonomy: Taxonomy) -> bool:
    """Whether no caption may name this colour for the class of this category."""
    number = class_of(category, taxonomy)
    return number >= 0 and (colour, taxonomy.classes[number].name) in HELD_OUT_COLOURS


def caption(template: str, phrase: str, colour: str = "", place: str = "", action: str = "") -> str:
    """One caption, as "a parked red car on the road."; empty parts are left out."""
    text = " ".join(part for part in (action, colour, phrase, place) if part)
    return template.replace("{}", text)
