"""What other tools read, written from a run; and labels of other tools, made a run."""

from labelgen.exports.format import Format
from labelgen.exports.importing import import_labels
from labelgen.exports.registry import FORMATS, export_run

__all__ = ["FORMATS", "Format", "export_run", "import_labels"]
