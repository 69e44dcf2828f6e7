"""Fills a plan with everything that stands, drives and walks in a city."""

from __future__ import annotations

import dataclasses

import numpy as np

from labelgen.demo.world.kerbside import fill_kerbs, park_vehicles
from labelgen.demo.world.layout import Plan
from labelgen.demo.world.lots import fill_lots
from labelgen.demo.world.movers import add_drivers, add_queues, add_walkers
from labelgen.demo.world.primitives import Assembly, Triple
from labelgen.demo.world.room import Entry, Room, Stock
from labelgen.demo.world.shapes import buildings, plants
from labelgen.demo.world.shapes.thing import Thing

_FAR_TREES = 12.0  #: times the size of a bush


def populate(plan: Plan, rng: np.random.Generator) -> Stock:
    """Everything in a planned city."""
    room = Room(plan, rng)
    park_vehicles(room)
    fill_lots(room)
    fill_kerbs(room)
    add_drivers(room)
    add_queues(room)
    add_walkers(room)
    _horizon(room)
    return room.stock


def _horizon(room: Room) -> None:
    """Towers and mounds of trees far away, so that streets do not end in the void."""
    rng, ground = room.rng, room.plan.ground
    cells = np.array([ground.grid[3], (len(ground.cell_start) - 1) // int(ground.grid[3])])
    middle = ground.grid[:2] + 0.5 * ground.grid[2] * cells
    reach = 0.55 * float(np.linalg.norm(middle - ground.grid[:2])) + 90.0
    for k in range(44):
        turn, r = 2 * np.pi * (k + rng.uniform(0, 0.6)) / 44, reach + rng.uniform(0, 110)
        thing = (
            _wood(rng)
            if rng.random() < 0.4
            else buildings.tower(rng, rng.uniform(18, 36), rng.uniform(14, 24))
        )
        x, y = middle[0] + r * np.cos(turn), middle[1] + r * np.sin(turn)
        room.stock.entries.append(Entry(thing, (float(x), float(y), 0.0, turn - np.pi / 2, 0.0)))


def _grown(triple: Triple) -> Triple:
    x, y, z = triple
    return _FAR_TREES * x, _FAR_TREES * y, _FAR_TREES * z


def _wood(rng: np.random.Generator) -> Thing:
    """Far trees: a bush grown twelvefold."""
    thing = plants.bush(rng)
    thing.noun, thing.synonyms = "trees", ("wood",)
    grown = [
        dataclasses.replace(
            part,
            centre=_grown(part.centre),
            half=_grown(part.half),
            open=(part.open[0], _FAR_TREES * part.open[1]),
        )
        for part in thing.assembly.parts
    ]
    thing.assembly = Assembly(grown)
    return thing
