"""The opened run: what is stored, and what the data set that it came from has besides."""

from labelgen.runs.run import POINTS, Run, RunFrame, open_run
from labelgen.runs.scenes import Scene, any_poses, have_poses, scenes_of

__all__ = ["POINTS", "Run", "RunFrame", "Scene", "any_poses", "have_poses", "open_run", "scenes_of"]
