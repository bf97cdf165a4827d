"""Weights written by hand that realise what theory states, and certificates that they do."""

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
