"""Weights written by hand that realise what theory states, and certificates that they do.

Importing this package asks MKL, which multiplies matrices for torch on most CPUs, for products whose rounding does not depend
on where in memory their operands lie (environment variable MKL_CBWR, unless it is set already). Without it the same model comes
out with other last bits in other company. It works as long as no product was computed in the process before.
"""

import os

os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

from constructions.aot import AttentionOnlyTransformer, ModelFileError, load_with_provenance
from constructions.certificate import Certificate, CertificateFileError, certify, certify_rank, recheck
from constructions.construction import Construction, DtypeCheck, logit_margins
from constructions.memorize import memorize
from constructions.transformer import Transformer

__all__ = [
    "AttentionOnlyTransformer",
    "Certificate",
    "CertificateFileError",
    "Construction",
    "DtypeCheck",
    "ModelFileError",
    "Transformer",
    "certify",
    "certify_rank",
    "load_with_provenance",
    "logit_margins",
    "memorize",
    "recheck",
]
