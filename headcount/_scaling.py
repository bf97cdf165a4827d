"""What the commands of `headcount scaling` do, but for training and figures of its own."""

from headcount._scaling_fit import fit
from headcount._scaling_laws import allocate, laws
from headcount._scaling_powerlaw import powerlaw

__all__ = ["allocate", "fit", "laws", "powerlaw"]
