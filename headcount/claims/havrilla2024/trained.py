"""Transformers that are trained, not built: whether their errors fall with the exponents of the theorems."""

from headcount.claims.claim import Claim, Effort, Kind
from headcount.claims.havrilla2024 import _trained_checks as checks

RUNS = "empirical.manifold_runs.measured_exponents"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="havrilla2024/trained-data-exponent",
        number="derived here, on theorem 1",
        title="Small trained transformers reach the data exponent",
        kind=Kind.ASYMPTOTIC,
        statement=r"Transformers of one size, trained by Adam on 100 to 10,000 noisy samples of a Weierstrass function, "
        r"$\beta = 0.75$, on a circle in $R^6$, have a squared error that falls with the exponent $2\beta/(2\beta + 1) = 0.6$.",
        least_effort=Effort.STANDARD,
        formula=lambda d, beta: 2 * beta / (2 * beta + d),
        check=checks.data,
        code=(RUNS, "theory.manifold_rates.data_exponent"),
        note="The theorem speaks of the best weights of a class that grows with n, and gives an upper bound; here the size "
        "stays and descent finds what it finds, slow waves long before fast ones. `headcount manifold train` has more "
        "manifolds.",
    ),
    Claim(
        name="havrilla2024/trained-model-exponent",
        number="derived here, on theorem 2",
        title="Small trained transformers reach the model exponent",
        kind=Kind.ASYMPTOTIC,
        statement=r"Transformers of 300 to 11,000 parameters, trained by Adam on fresh samples of such a function without "
        r"noise, have a squared error that falls with the exponent $2\beta/d = 1.5$.",
        least_effort=Effort.STANDARD,
        formula=lambda d, beta: 2 * beta / d,
        check=checks.model,
        code=(RUNS, "theory.manifold_rates.model_exponent"),
        note="The theorem says that weights exist, and rate-rough finds such; it doesn't say that descent finds them.",
    ),
)
