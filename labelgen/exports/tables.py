"""What the data set's own tables say of a run's files."""

from __future__ import annotations

from labelgen.datasets.nuscenes_tables import Tables, choose_version, read_tables
from labelgen.datasets.roots import no_files
from labelgen.io.paths import file_names
from labelgen.runs import Run


def tables_of(run: Run) -> Tables:
    """The data set's nuScenes tables.

    Raises:
        UserError: there are none below the data root.
    """
    root = run.need(no_files)
    return read_tables(root / choose_version(root, run.dataset.version))


def image_names(run: Run) -> dict[str, str]:
    """{path of an image: what its files are called}: the sample_data token, else see `file_names`.

    Raises:
        UserError: as `tables_of`.
    """
    if run.dataset.version:  # of nuScenes' tables; other data sets have none
        shots = (shot for channels in tables_of(run).keyframes.values() for shot in channels.values())
        return {shot["filename"]: shot["token"] for shot in shots}
    return file_names(camera.image_path for frame in run.plan.values() for camera in frame.cameras)
