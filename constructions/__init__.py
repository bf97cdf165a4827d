"""Weights written by hand that realise what theory states."""

from constructions.aot import AttentionOnlyTransformer, ModelFileError, load_with_provenance
from constructions.construction import Construction, DtypeCheck, logit_margins
from constructions.memorize import memorize

__all__ = [
    "AttentionOnlyTransformer",
    "Construction",
    "DtypeCheck",
    "ModelFileError",
    "load_with_provenance",
    "logit_margins",
    "memorize",
]
