"""Words for the objects of a city, from which captions are made."""

from __future__ import annotations

from dataclasses import dataclass

from labelgen.datasets.nuscenes_categories import CATEGORIES
from labelgen.demo.world.categories import CLASS_OF_CATEGORY, CLASSES
from labelgen.demo.world.city import City


@dataclass(frozen=True)
class Description:
    """What an object is called.

    Attributes:
        noun: e.g. ``bus``; synonyms: other words, e.g. ``("double-decker bus",)``.
        colour: word for its main colour, e.g. ``red``.
        category: nuScenes' general category; class_name: the challenge's class, or ``ignore``.
        place: where it stands, e.g. ``on the road``; for ground what it is part of, ``in the street``.
        action: ``parked``, ``driving``, ``walking``, ``standing``, or empty for what cannot move.
        rider: whether somebody rides it.
    """

    noun: str
    synonyms: tuple[str, ...]
    colour: str
    category: str
    class_name: str
    place: str
    action: str
    rider: bool


def describe(city: City, object_id: int) -> Description:
    """Words for one object.

    Raises:
        KeyError: no such object (0 is the sky).
    """
    if object_id not in city.items:
        raise KeyError(f"no object {object_id} in the city of seed {city.seed}")
    item = city.items[object_id]
    category = CATEGORIES[item.category]
    action, place = "", "in the street"
    if category.startswith("vehicle."):
        action = "driving" if item.moving else "parked"
    elif category.startswith("human."):
        action = "walking" if item.moving else "standing"
    if item.body >= 0:
        place = city.place_of(item)
    return Description(
        item.noun,
        item.synonyms,
        item.colour,
        category,
        CLASSES[CLASS_OF_CATEGORY[item.category]],
        place,
        action,
        item.rider,
    )
