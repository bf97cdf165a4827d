"""The face of headcount: the command line and the figures. Imports theory, constructions and empirical; imported by none."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("headcount")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+not.installed"

__all__ = ["__version__"]
