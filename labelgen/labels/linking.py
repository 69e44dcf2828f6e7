"""Which points of one thing belong together: connected parts of a cloud, however densely its points lie.

Two points are joined if they are neighbours in the LiDAR's view without a jump in range. A dense cloud has
far more such pairs than points, so pairs are not listed: two trees of boxes are descended side by side.
Boxes that are too far apart, or of which all points are one part already, are passed over; boxes so near
each other that every pair of their points is joined are united whole. What is left is tested point by point.
The parts are those of the graph of all pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.geometry.kdorder import kd_order

#: Points in a leaf of the trees.
LEAF = 8
#: Bounds of boxes are believed up to this share: sums of squares are rounded.
_SLACK = 1e-9


class Cloud(NamedTuple):
    """Points, and when two of them are neighbours.

    Attributes:
        look: (n, 3) float64, place on the cylinder of view directions.
        xyz: (n, 3) float64 metres.
        away: (n,) float64 metres from the LiDAR.
        radius: largest distance of neighbours in ``look``.
        gap, gap_relative: largest distance of neighbours in metres, and what is added to it as a share of the
            smaller range.
    """

    look: NDArray[np.float64]
    xyz: NDArray[np.float64]
    away: NDArray[np.float64]
    radius: float
    gap: float
    gap_relative: float


class Trees(NamedTuple):
    """A binary tree of boxes over each group of points; a node stands before its children.

    Attributes:
        order: (n,) int32 points, those of a node one after another.
        begin, end: (nodes,) int64, rows of ``order``.
        right: (nodes,) int64, second child; the first one is the next node. 0 for a leaf.
        box: (nodes, 14) float64: least look and xyz, then largest, then least and largest range.
        root: (groups,) int64.
    """

    order: NDArray[np.int32]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    right: NDArray[np.int64]
    box: NDArray[np.float64]
    root: NDArray[np.int64]


def link(
    cloud: Cloud, owned: Trees, label: NDArray[np.uint8], camera: NDArray[np.int64]
) -> tuple[NDArray[np.int32], int]:
    """Parts of points of one label that are neighbours, and of one owner or of different cameras.

    Args:
        cloud: n points.
        owned: a tree over the points of each label and owner, from `grow`. An owner is of one camera.
        label: (n,) of each point.
        camera: (n,) of each point, -1 for none.

    Returns:
        (n,) int32 part of each point, named by one of its points; and how many pairs of boxes and of points
        were looked at.
    """
    parent = np.arange(len(label), dtype=np.int32)
    visits = 0
    if len(label):
        visits += _join_within(cloud, owned, parent)
        if camera.min() != camera.max():
            seen = grow(cloud, label.astype(np.int64) << 32 | (camera + 1))
            visits += _join_across(cloud, seen, label[seen.order[seen.begin[seen.root]]], parent)
    return _roots(parent), visits


def grow(cloud: Cloud, key: NDArray[np.int64]) -> Trees:
    """A tree over the points of each key (n,), in the order of keys."""
    order = np.argsort(key, kind="stable").astype(np.int32)
    begins = np.flatnonzero(np.diff(key[order], prepend=-1, append=-2))
    kd_order(_place(cloud)[order], order, begins, LEAF)
    return _boxes(order, begins, cloud)


@numba.njit(cache=True)
def nearest(
    cloud: Cloud, trees: Trees, ask: NDArray[np.bool_], among: NDArray[np.bool_], reach: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """For points that ask, the nearest in their own tree that answers.

    Args:
        cloud: n points.
        trees: over them.
        ask: (n,) which ask.
        among: (n,) which answer.
        reach: (n,) metres; what is farther is not looked for, and may be found or not.

    Returns:
        (n,) int32, -1 where none was asked for or found; (n,) float64 metres.
    """
    found, away = np.full(len(ask), -1, np.int32), np.full(len(ask), np.inf)
    answers = np.zeros(len(trees.begin), np.bool_)
    for node in range(len(answers) - 1, -1, -1):
        if trees.right[node]:
            answers[node] = answers[node + 1] or answers[trees.right[node]]
        else:
            for row in range(trees.begin[node], trees.end[node]):
                answers[node] |= among[trees.order[row]]
    stack = np.empty(64, np.int64)
    for root in trees.root:
        for asking in range(trees.begin[root], trees.end[root]):
            i = trees.order[asking]
            if not ask[i]:
                continue
            best = np.inf
            stack[0] = root
            depth = 1
            while depth:
                depth -= 1
                node = stack[depth]
                least = _outside(trees.box[node], cloud.xyz[i])
                if not answers[node] or least >= best or least > reach[i] * reach[i] * (1 + _SLACK):
                    continue
                if trees.right[node]:
                    near, far = node + 1, trees.right[node]
                    if _outside(trees.box[far], cloud.xyz[i]) < _outside(trees.box[near], cloud.xyz[i]):
                        near, far = far, near
                    stack[depth] = far
                    stack[depth + 1] = near
                    depth += 2
                    continue
                for row in range(trees.begin[node], trees.end[node]):
                    j = trees.order[row]
                    square = 0.0
                    for k in range(3):
                        square += (cloud.xyz[i, k] - cloud.xyz[j, k]) ** 2
                    if among[j] and square < best:
                        best = square
                        found[i] = j
            away[i] = np.sqrt(best)
    return found, away


@numba.njit(cache=True)
def _outside(box: NDArray[np.float64], place: NDArray[np.float64]) -> float:
    """Square of the metres from a place to a box."""
    square = 0.0
    for k in range(3):
        square += max(box[3 + k] - place[k], place[k] - box[9 + k], 0.0) ** 2
    return square


def _place(cloud: Cloud) -> NDArray[np.float32]:
    """(n, 4) coordinates in which neighbours are about 1 apart at most."""
    reach = np.maximum(cloud.gap + cloud.gap_relative * cloud.away, 1e-30)
    far = np.log(reach) / cloud.gap_relative if cloud.gap_relative > 0 else cloud.away / reach
    return np.column_stack([cloud.look / cloud.radius, far]).astype(np.float32)


@numba.njit(cache=True)
def _boxes(order: NDArray[np.int32], begins: NDArray[np.int64], cloud: Cloud) -> Trees:
    most = 4 * len(order) // LEAF + len(begins)
    begin, end, right = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)
    root = np.zeros(len(begins) - 1, np.int64)
    stack = np.empty((64, 3), np.int64)  # begin, end, and the node whose second child it is
    nodes = 0
    for group in range(len(root)):
        root[group] = nodes
        stack[0] = begins[group], begins[group + 1], -1
        depth = 1
        while depth:
            depth -= 1
            low, high, above = stack[depth]
            begin[nodes], end[nodes] = low, high
            if above >= 0:
                right[above] = nodes
            if high - low > LEAF:
                middle = (low + high) // 2
                stack[depth] = middle, high, nodes
                stack[depth + 1] = low, middle, -1
                depth += 2
            nodes += 1
    box = np.empty((nodes, 14))
    for node in range(nodes - 1, -1, -1):
        one = box[node]
        if right[node]:
            for a in range(14):
                first, second = box[node + 1, a], box[right[node], a]
                least = a < 6 or a == 12
                one[a] = min(first, second) if least else max(first, second)
            continue
        for row in range(begin[node], end[node]):
            i = order[row]
            for a in range(3):
                v, x = cloud.look[i, a], cloud.xyz[i, a]
                one[a] = v if row == begin[node] else min(one[a], v)
                one[3 + a] = x if row == begin[node] else min(one[3 + a], x)
                one[6 + a] = v if row == begin[node] else max(one[6 + a], v)
                one[9 + a] = x if row == begin[node] else max(one[9 + a], x)
            r = cloud.away[i]
            one[12] = r if row == begin[node] else min(one[12], r)
            one[13] = r if row == begin[node] else max(one[13], r)
    return Trees(order, begin[:nodes], end[:nodes], right[:nodes], box, root)


@numba.njit(cache=True)
def _join_within(cloud: Cloud, trees: Trees, parent: NDArray[np.int32]) -> int:
    whole = np.zeros(len(trees.begin), np.bool_)
    visits = 0
    for node in trees.root:
        visits += _join(cloud, trees, whole, parent, node, node)
    return visits


@numba.njit(cache=True)
def _join_across(cloud: Cloud, trees: Trees, label: NDArray[np.uint8], parent: NDArray[np.int32]) -> int:
    whole = np.zeros(len(trees.begin), np.bool_)
    for node in range(len(whole) - 1, -1, -1):
        _is_whole(node, trees, whole, parent)
    visits = 0
    for one in range(len(label)):
        other = one + 1
        while other < len(label) and label[other] == label[one]:
            visits += _join(cloud, trees, whole, parent, trees.root[one], trees.root[other])
            other += 1
    return visits


@numba.njit(cache=True)
def _join(
    cloud: Cloud, trees: Trees, whole: NDArray[np.bool_], parent: NDArray[np.int32], first: int, second: int
) -> int:
    """Unite the neighbours among the points of two nodes, or of one if they are the same."""
    stack = np.empty((512, 2), np.int64)
    stack[0] = first, second
    depth, visits = 1, 0
    while depth:
        depth -= 1
        visits += 1
        a, b = stack[depth]
        whole_a, whole_b = _is_whole(a, trees, whole, parent), _is_whole(b, trees, whole, parent)
        one_a, one_b = trees.order[trees.begin[a]], trees.order[trees.begin[b]]
        if whole_a and whole_b and _root(parent, one_a) == _root(parent, one_b):
            continue
        none, every = _bounds(trees.box[a], trees.box[b], cloud)
        if none:
            continue
        if every:
            _unite_all(a, trees, whole, parent)
            _unite_all(b, trees, whole, parent)
            _unite(parent, one_a, one_b)
        elif trees.right[a] == 0 and trees.right[b] == 0:
            visits += _pairs(cloud, trees, parent, a, b)
        elif a == b:
            left, right = a + 1, trees.right[a]
            stack[depth] = left, right
            stack[depth + 1] = right, right
            stack[depth + 2] = left, left
            depth += 3
        else:
            if trees.end[a] - trees.begin[a] < trees.end[b] - trees.begin[b]:
                a, b = b, a
            near, far = a + 1, trees.right[a]
            if _apart(trees.box[far], trees.box[b]) < _apart(trees.box[near], trees.box[b]):
                near, far = far, near
            stack[depth] = far, b
            stack[depth + 1] = near, b
            depth += 2
    return visits


@numba.njit(cache=True)
def _pairs(cloud: Cloud, trees: Trees, parent: NDArray[np.int32], a: int, b: int) -> int:
    """Test the points of two leaves one by one; returns how many pairs."""
    visits = 0
    square = cloud.radius * cloud.radius
    for p in range(trees.begin[a], trees.end[a]):
        i = trees.order[p]
        for q in range(p + 1 if a == b else trees.begin[b], trees.end[b]):
            j = trees.order[q]
            visits += 1
            view = metres = 0.0
            for k in range(3):
                view += (cloud.look[i, k] - cloud.look[j, k]) ** 2
                metres += (cloud.xyz[i, k] - cloud.xyz[j, k]) ** 2
            limit = cloud.gap + cloud.gap_relative * min(cloud.away[i], cloud.away[j])
            if view <= square and np.sqrt(metres) <= limit:
                _unite(parent, i, j)
    return visits


@numba.njit(cache=True)
def _bounds(a: NDArray[np.float64], b: NDArray[np.float64], cloud: Cloud) -> tuple[bool, bool]:
    """Whether surely no pair, and whether surely every pair of points in two boxes are neighbours."""
    least = most = 0.0
    for k in range(3):
        least += max(a[k] - b[6 + k], b[k] - a[6 + k], 0.0) ** 2
        most += max(a[6 + k] - b[k], b[6 + k] - a[k]) ** 2
    square = cloud.radius * cloud.radius
    if least > square * (1 + _SLACK):
        return True, False
    every = most <= square * (1 - _SLACK)
    least = most = 0.0
    for k in range(3, 6):
        least += max(a[k] - b[6 + k], b[k] - a[6 + k], 0.0) ** 2
        most += max(a[6 + k] - b[k], b[6 + k] - a[k]) ** 2
    limit = cloud.gap + cloud.gap_relative * min(a[13], b[13])
    if least > limit * limit * (1 + _SLACK):
        return True, False
    limit = cloud.gap + cloud.gap_relative * min(a[12], b[12])
    return False, every and most <= limit * limit * (1 - _SLACK)


@numba.njit(cache=True)
def _apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """How far apart the middles of two boxes are, in metres: twice that, squared."""
    total = 0.0
    for k in range(3, 6):
        total += (a[k] + a[6 + k] - b[k] - b[6 + k]) ** 2
    return total


@numba.njit(cache=True)
def _is_whole(node: int, trees: Trees, whole: NDArray[np.bool_], parent: NDArray[np.int32]) -> bool:
    """Whether all points of a node are known to be one part, from what is known of its children."""
    if whole[node]:
        return True
    one = _root(parent, trees.order[trees.begin[node]])
    if trees.right[node]:
        other = trees.right[node]
        same = whole[node + 1] and whole[other]
        same = same and _root(parent, trees.order[trees.begin[other]]) == one
    else:
        same = True
        for row in range(trees.begin[node] + 1, trees.end[node]):
            same = same and _root(parent, trees.order[row]) == one
    whole[node] = same
    return same


@numba.njit(cache=True)
def _unite_all(node: int, trees: Trees, whole: NDArray[np.bool_], parent: NDArray[np.int32]) -> None:
    if not whole[node]:
        for row in range(trees.begin[node] + 1, trees.end[node]):
            _unite(parent, trees.order[trees.begin[node]], trees.order[row])
        whole[node] = True


@numba.njit(cache=True)
def _root(parent: NDArray[np.int32], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def _unite(parent: NDArray[np.int32], i: int, j: int) -> None:
    i, j = _root(parent, i), _root(parent, j)
    parent[max(i, j)] = min(i, j)


@numba.njit(cache=True)
def _roots(parent: NDArray[np.int32]) -> NDArray[np.int32]:
    out = np.empty_like(parent)
    for i in range(len(parent)):
        out[i] = _root(parent, i)
    return out
