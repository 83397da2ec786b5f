"""Plugins: a name becomes an object, and its options are checked before anything heavy is imported.

A plugin is registered by an entry point of the group ``rechub.<kind>``, or named in place as
``pkg.mod:Class`` or ``./file.py:Class``. Built-ins come through the same door. What can be known
without running a plugin (its options, a metric's direction) is read from its source.
"""

from rechub_cli.plugins.describe import Description, MetricInfo, class_literal, describe, metric_info, summary
from rechub_cli.plugins.options import Option, OptionProblem, check_options, options
from rechub_cli.plugins.registry import KINDS, Plugin, find, load, load_metric, names

__all__ = [
    "KINDS",
    "Description",
    "MetricInfo",
    "Option",
    "OptionProblem",
    "Plugin",
    "check_options",
    "class_literal",
    "describe",
    "find",
    "load",
    "load_metric",
    "metric_info",
    "names",
    "options",
    "summary",
]
