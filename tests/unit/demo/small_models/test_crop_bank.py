"""Pictures on disk and the crops cut from them."""

import numpy as np
import pytest

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.crop_bank import MOST_CROPS, PIXELS_PER_CROP, cut_crops
from labelgen.demo.small_models.pictures import ObjectWords, Picture, PictureStore
from labelgen.demo.world import City, render_view

SIZE = (240, 136)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return PictureStore(tmp_path_factory.mktemp("pictures"), 5, 3, size=SIZE)


def test_pictures_are_kept_and_read_back(store):
    fresh = store[1]
    assert len(list(store.folder.glob("000005-1.npz"))) == 1
    again = PictureStore(store.folder, 5, 3, size=SIZE)[1]
    np.testing.assert_array_equal(fresh.rgb, again.rgb)
    np.testing.assert_array_equal(fresh.objects, again.objects)
    assert fresh.words.keys() == again.words.keys() == set(np.unique(fresh.objects)) - {0}
    assert fresh.words[next(iter(fresh.words))].noun == again.words[next(iter(again.words))].noun


def test_pictures_are_views_of_training_cities(store):
    city = City(5)
    names = {words.noun for words in store[0].words.values()}
    assert names <= {item.noun for item in city.items.values()}
    assert render_view(city, 0.0, "CAM_FRONT", SIZE).rgb.shape == store[0].rgb.shape


def test_crops_say_what_they_show(store):
    taxonomy = load_taxonomy("nuscenes16")
    bank = cut_crops(
        store, taxonomy, size=32, grid=4, mean=(115.0, 115.0, 115.0), scale=1.5, background=0.5, disturb=True
    )
    N = len(bank.label)
    assert bank.crops.shape == (N, 32, 32, 3)
    areas = bank.area[bank.exact]
    extra = np.minimum(1 + areas // PIXELS_PER_CROP, MOST_CROPS).sum()
    assert bank.exact.sum() + extra == N, "large objects are cut more often"
    assert bank.fits.any(axis=1).all(), "every crop has a phrase"
    named = [bank.phrases.index(bank.nouns[noun]) for noun in bank.noun]
    assert bank.fits[np.arange(N), named].all(), "and its noun is one of them"
    car = taxonomy.names.index("car")
    cars = bank.fits[:, bank.phrases.index("car")]
    np.testing.assert_array_equal(cars, bank.label == car)


def test_cells_are_the_classes_under_the_patches():
    taxonomy = load_taxonomy("nuscenes16")
    objects = np.zeros((60, 90), np.uint16)  # sky
    objects[30:] = 1  # road
    objects[20:40, 30:60] = 2  # bus
    objects[20:40, 70:80] = 3  # dog
    words = {
        1: ObjectWords(1, "flat.driveable_surface", "road", (), "grey"),
        2: ObjectWords(2, "vehicle.bus.rigid", "bus", (), "red"),
        3: ObjectWords(3, "animal", "dog", (), "brown"),
    }
    road, bus, void = taxonomy.names.index("driveable_surface"), taxonomy.names.index("bus"), len(taxonomy)
    colour_of = {road: 50, bus: 100, -1: 150, void: 200}
    rgb = np.choose(objects, [200, 50, 100, 150]).astype(np.uint8)[..., None].repeat(3, axis=2)

    bank = cut_crops(
        [Picture(rgb, objects, words)],
        taxonomy,
        size=80,
        grid=8,
        mean=(7.0, 7.0, 7.0),
        scale=1.5,
        background=1.0,
        disturb=False,
    )
    assert sorted(bank.label.tolist()) == sorted([-1, road, bus, -1])
    for crop, cells in zip(bank.crops, bank.cells, strict=True):
        seen = crop[4::10, 4::10, 0].astype(int)  # next to the patches' centres
        for cell, colour in zip(cells.ravel(), seen.ravel(), strict=True):
            if colour != 7 and colour in colour_of.values():
                assert colour_of[int(cell)] == colour
