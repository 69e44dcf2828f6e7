"""Stages and runners: the only place that knows an engine. The computation itself is in ``labelgen``."""
