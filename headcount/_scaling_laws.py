"""What `headcount scaling laws` and `allocate` do: published laws, and a budget split by them side by side."""

import re
from collections.abc import Sequence

from headcount import console
from theory.allocation import inference_allocation, kaplan_allocation, optimal_allocation
from theory.scaling import PUBLISHED, DataConstrainedLaw, HoffmannLaw, published_law
from theory.scaling_units import PF_DAY

KAPLAN = "kaplan2020"
FITTED_FROM, FITTED_TO = 1e15, 1.3e23
"""FLOP: Kaplan's smallest models, and ten times the largest compute in Hoffmann's figure 4."""
SYMBOLS = ("E", "A", "B", "alpha", "beta")


def laws(names: Sequence[str]) -> None:
    """`headcount scaling laws`."""
    for name in names:
        published_law(name)  # refuses an unknown one before anything is printed
    for name in names or PUBLISHED:
        published = PUBLISHED[name]
        law = published.law
        told = {
            "law": f"{law.name}: {law.expression()}",
            "constants": ", ".join(f"{symbol} = {value:.6g}" for symbol, value in law.constants.items()),
            "units": ", ".join(f"{symbol} in {unit}" for symbol, unit in law.units.items()) + f"; {law.output}",
            "formula": law.source, "constants from": published.source, "note": published.note,
        }  # fmt: skip
        console.show(console.facts(name, told))


def allocate(*, flops: float, names: Sequence[str], constants: str | None, inference_tokens: float | None) -> None:
    """`headcount scaling allocate`."""
    chosen = _chosen(names, constants)
    if inference_tokens is not None and not any(chosen.values()):
        raise ValueError(f"--inference-tokens: {KAPLAN} gives no loss to hold; a law of Hoffmann's form is legal with it")
    title = f"{flops:.4g} FLOP of training ({flops / PF_DAY:.4g} PF-days), C = 6 N D"
    table = console.frame(title, "law", "parameters", "tokens", "tokens/par.", "loss", left=("law",))
    for name, law in chosen.items():
        best = kaplan_allocation(flops) if law is None else optimal_allocation(law, flops)
        loss = "-" if law is None else f"{best.loss:.4f}"
        table.add_row(name, f"{best.parameters:.4g}", f"{best.tokens:.4g}", f"{best.tokens_per_parameter:.3g}", loss)
    console.show(table)
    if KAPLAN in chosen:
        others = "; the others count all" if len(chosen) > 1 else ""
        console.say(f"{KAPLAN} counts non-embedding parameters and gives no loss at this split{others}")
    if not FITTED_FROM <= flops <= FITTED_TO:
        console.say(f"warning: no law here was fitted to models of less than {FITTED_FROM:g} or more than {FITTED_TO:g} FLOP")
    if inference_tokens is not None:
        _serve(flops, chosen, inference_tokens)


def _serve(flops: float, chosen: dict[str, HoffmannLaw | None], inference_tokens: float) -> None:
    title = f"the same loss with {inference_tokens:.4g} tokens to be served, 6 N D + 2 N D_inf least"
    table = console.frame(title, "law", "parameters", "tokens", "training FLOP", "all FLOP", "saved", left=("law",))
    for name, law in chosen.items():
        if law is None:
            continue
        best = inference_allocation(law, compute=flops, inference_tokens=inference_tokens)
        table.add_row(
            name, f"{best.parameters:.4g}", f"{best.tokens:.4g}", f"{best.training_flops:.4g}", f"{best.cost:.4g}",
            f"{best.saving_share:.1%}",
        )  # fmt: skip
    console.show(table)


def _chosen(names: Sequence[str], constants: str | None) -> dict[str, HoffmannLaw | None]:
    """Laws by name; None stands for Kaplan's own allocation."""
    known: dict[str, HoffmannLaw | None] = {}
    for name, published in PUBLISHED.items():
        law = published.law.single_epoch if isinstance(published.law, DataConstrainedLaw) else published.law
        if isinstance(law, HoffmannLaw):
            known[name] = law
    known[KAPLAN] = None
    for name in names:
        if name not in known:
            raise ValueError(f"--law {name}: {', '.join(known)} are legal")
    own: dict[str, HoffmannLaw | None] = {} if constants is None else {"your constants": parse_constants(constants)}
    picked = {name: law for name, law in known.items() if name in names or not (names or own)}
    return {**own, **picked}


def parse_constants(text: str) -> HoffmannLaw:
    """The law of "E=1.69,A=406.4,B=410.7,alpha=0.34,beta=0.28". Raises ValueError for anything else."""
    found: dict[str, float] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\S+)\s*", part)
        try:
            if match is None or match[1] not in SYMBOLS or match[1] in found:
                raise ValueError
            found[match[1]] = float(match[2])
        except ValueError:
            legal = ",".join(f"{symbol}=.." for symbol in SYMBOLS)
            raise ValueError(f"--constants: {part.strip()[:40]!r}: {legal} is legal, each once") from None
    missing = [symbol for symbol in SYMBOLS if symbol not in found]
    if missing:
        raise ValueError(f"--constants: {', '.join(missing)} missing; all of {', '.join(SYMBOLS)} are needed")
    return HoffmannLaw(*(found[symbol] for symbol in SYMBOLS))
