"""The losses' equations, term by term, as slowly as they are written: what the fast ones must equal."""

from __future__ import annotations

import torch
from torch import Tensor


def cos(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.pow(2).sum().sqrt() * b.pow(2).sum().sqrt())


def total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum()


def average(parts: list[Tensor]) -> Tensor:
    return total(parts) / len(parts)


def region_means(feature: Tensor, group: list[int], groups: int) -> list[Tensor | None]:
    out: list[Tensor | None] = []
    for g in range(groups):
        rows = [feature[i] for i in range(len(group)) if group[i] == g]
        out.append(sum(rows[1:], rows[0]) / len(rows) if rows else None)
    return out


def info_nce(k: Tensor, q: Tensor, tau: float) -> Tensor:
    M = len(k)
    parts = []
    for i in range(M):
        above = torch.exp(torch.dot(k[i], q[i]) / tau)
        below = total([torch.exp(torch.dot(k[i], q[j]) / tau) for j in range(M)])
        parts.append(-torch.log(above / below))
    return average(parts)


def quantile(values: list[float], share: float) -> float:
    """With linear interpolation between the two nearest ranks."""
    ranked = sorted(values)
    place = share * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def tolerant(k: Tensor, q: Tensor, x: Tensor, tau: float, share: float, threshold: float | None) -> Tensor:
    M = len(k)
    losses, votes = [], []
    for i in range(M):
        similar = [float(cos(x[i], x[j])) for j in range(M)]
        weight = [1 - min(1.0, max(0.0, s)) for s in similar]
        least = quantile(weight, share)
        kept = [0.0 if w < least or w == 0 else (1.0 if share > 0 else w) for w in weight]
        kept[i] = 1.0
        logits = [kept[j] * torch.dot(k[i], q[j]) / tau for j in range(M)]
        losses.append(-torch.log(torch.exp(logits[i]) / total([torch.exp(value) for value in logits])))
        votes.append(sum(s for s in similar if threshold is not None and s >= threshold))
    if threshold is None:
        return average(losses)
    above = [v - min(votes) for v in votes]
    anchor = [1 - v / max(above) if max(above) > 1e-5 * max(votes) else 1.0 for v in above]
    if sum(anchor) == 0:
        return total(losses) * 0
    return total([w * loss for w, loss in zip(anchor, losses, strict=True)]) / sum(anchor)


def unit_distance(k: Tensor, q: Tensor) -> Tensor:
    parts = []
    for a, b in zip(k, q, strict=True):
        difference = a / a.pow(2).sum().sqrt() - b / b.pow(2).sum().sqrt()
        parts.append(difference.pow(2).sum().sqrt())
    return average(parts)


def cosine_distance(k: Tensor, q: Tensor) -> Tensor:
    return average([1 - cos(a, b) for a, b in zip(k, q, strict=True)])


def filtered(p: Tensor, q: Tensor, t: Tensor, x: Tensor, tau: float, epsilon: float) -> Tensor:
    M = len(p)
    parts = []
    for i in range(M):
        above = torch.exp(torch.dot(p[i], q[i]) / tau)
        terms = [above]
        for j in range(M):
            T = 0 if epsilon > float(cos(t[i], x[i]) - cos(t[i], x[j])) else 1
            if j != i and T:
                terms.append(torch.exp(torch.dot(p[i], q[j]) / tau))
        parts.append(-torch.log(above / total(terms)))
    return average(parts)


def assignment(f: Tensor, text: Tensor, label: list[int], tau: float) -> Tensor:
    parts = []
    for i, c in enumerate(label):
        below = total([torch.exp(torch.dot(f[i], row) / tau) for row in text])
        parts.append(-torch.log(torch.exp(torch.dot(f[i], text[c]) / tau) / below))
    return average(parts)


def majority(label: list[int], region: list[int], regions: int, classes: int) -> list[int]:
    out = []
    for r in range(regions):
        votes = [sum(a == c and b == r for a, b in zip(label, region, strict=True)) for c in range(classes)]
        out.append(votes.index(max(votes)) if max(votes, default=0) else -1)
    return out


def soft_target(text: Tensor, group: list[int], own: float, y: int) -> list[float]:
    weight = []
    for c in range(len(text)):
        s = float(torch.dot(text[y], text[c])) if group[c] == group[y] else 0.0
        weight.append(own * (c == y) + (1 - own) * s)
    return [w / sum(weight) for w in weight]


def tmp_text(k: Tensor, text: Tensor, group: list[int], word: list[int], own: float, tau: float) -> Tensor:
    parts = []
    for i, y in enumerate(word):
        p = soft_target(text, group, own, y)
        below = total([torch.exp(torch.dot(k[i], row) / tau) for row in text])
        for c in range(len(text)):
            parts.append(-p[c] * torch.log(torch.exp(torch.dot(k[i], text[c]) / tau) / below))
    return total(parts) / len(word)
