"""What other tools read, written from a run; and labels of other tools, made a run."""

from labelgen.exports.formats import FORMATS, Format, export_run
from labelgen.exports.importing import import_labels

__all__ = ["FORMATS", "Format", "export_run", "import_labels"]
