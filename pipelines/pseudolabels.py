"""``python -m pipelines.pseudolabels``: what ``make pseudolabels`` runs."""

from __future__ import annotations

from labelgen.cli.main import main

if __name__ == "__main__":
    main(["run"])
