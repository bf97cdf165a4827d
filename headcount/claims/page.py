"""docs/claims.md, written from the ledger and the recorded evidence: nobody edits it.

    python -m headcount.claims.page docs/claims.md           writes it
    python -m headcount.claims.page docs/claims.md --check   exit code 1 when it is stale
"""

import sys
from collections import Counter
from pathlib import Path

from headcount.claims import PAPERS, ledger, records
from headcount.claims.claim import Claim, Effort, Evidence, Verdict
from headcount.claims.records import Record

HEADER = """# Claims and verdicts

Every statement of the papers that this project checks, with the verdict that follows from recorded evidence. Where a statement
turned out wrong or loose, its repair stands beside it as a claim of its own.

This page is generated: `make claims` writes it, and the tests fail when it is stale. To check for yourself:

COMMANDS

| verdict | says |
|---|---|
| proved | symbolic or exact arithmetic, or rigorous bounds, settle the statement for all cases that it speaks of |
| held | no violation in the cases tried |
| measured | a statistical statement, and the interval agrees with it |
| refuted | a counterexample, or an interval that excludes it |
| needs assumption | rests on an assumption that no check here settles, and was not violated where that was granted |
| not checked | nothing to check it by, for the reason given |

| kind | compares |
|---|---|
| tight | the true value equals the formula |
| lower | the formula is a lower bound on the true value |
| upper | the formula is an upper bound on the true value |
| asymptotic | the formula, an exponent, slope or mean, lies in the interval measured |
| conditional | as under the assumption, and never "held" |
"""

SHOWN = {
    "dana2025": "corollary-1",
    "sanford2024": "lemma-d-2",
    "kaplan2020": "critical-tokens",
    "hoffmann2022": "gopher",
    "havrilla2024": "identity-besiroglu",
    "scaling_lecture": "exponents-literal",
}
"""Per paper a claim that is an example for `--show`."""


def page() -> str:
    """The whole page as text."""
    parts = [HEADER.replace("COMMANDS", _commands())]
    for paper, title in PAPERS.items():
        claims, kept = ledger(paper), records.shipped(paper)
        latest = {claim.name: best(kept.get(claim.name, {})) for claim in claims}
        parts.append(f"## {title}\n")
        for words, some in (
            ("statements of the paper", [claim for claim in claims if claim.own]),
            ("repairs, and statements derived here", [claim for claim in claims if not claim.own]),
        ):
            counts = Counter(_verdict(latest[claim.name]) for claim in some)
            parts.append(f"- {len(some)} {words}: {', '.join(f'{counts[each]} {each}' for each in Verdict if counts[each])}.")
        parts.append("")
        parts.append("| claim | where | kind | verdict | evidence |\n|---|---|---|---|---|")
        parts += [_row(claim, latest[claim.name]) for claim in claims]
        parts += [_section(claim, latest[claim.name]) for claim in claims]
    return "\n".join(parts) + "\n"


def _commands() -> str:
    """The commands that check everything, and those of each paper, in a column with what they take."""
    lines = [("headcount verify", "the claims of all papers, about a minute")]
    for paper in PAPERS:
        lines.append((f"headcount verify --paper {paper}", "of one paper, under a minute"))
        lines.append((f"headcount verify --paper {paper} --effort standard", "under ten minutes on two cores"))
        lines.append((f"headcount verify --show {paper}/{SHOWN[paper]}", "one claim in full"))
    width = max(len(command) for command, _ in lines)
    return "\n".join(f"    {command:<{width}}   # {words}" for command, words in lines)


def best(kept: dict[Effort, Record]) -> tuple[Effort, Record] | None:
    """The record of the highest effort that checked anything; of the highest at all where none did."""
    checked = [effort for effort, record in kept.items() if record.verdict is not Verdict.NOT_CHECKED]
    efforts = checked or list(kept)
    if not efforts:
        return None
    effort = max(efforts, key=lambda each: each.rank)
    return effort, kept[effort]


def _verdict(latest: tuple[Effort, Record] | None) -> Verdict:
    return Verdict.NOT_CHECKED if latest is None else latest[1].verdict


def _row(claim: Claim, latest: tuple[Effort, Record] | None) -> str:
    anchor = claim.name.replace("/", "")
    evidence = "" if latest is None else _cell(latest[1].summary(claim))
    return f"| [{claim.name.partition('/')[2]}](#{anchor}) | {claim.number} | {claim.kind} | {_verdict(latest)} | {evidence} |"


def _section(claim: Claim, latest: tuple[Effort, Record] | None) -> str:
    lines = [f"\n### {claim.name}\n", f"**{claim.number}: {claim.title}.** {claim.statement}\n"]
    lines.append(f"- Kind: {_kind(claim)}. Verdict: **{_verdict(latest)}**.")
    if claim.repairs:
        lines.append(f"- Repairs [{claim.repairs}](#{claim.repairs.replace('/', '')}).")
    if claim.assumptions:
        lines.append(f"- Assumes: {'; '.join(_plain(line) for line in claim.assumptions)}.")
    if claim.note:
        lines.append(f"- {_plain(claim.note)}")
    if claim.code:
        lines.append(f"- Code: {', '.join(f'`{place}`' for place in claim.code)}.")
    if latest is not None:
        effort, record = latest
        lines += [f"- {_plain(line)}" for piece in record.evidence for line in evidence_lines(claim, piece)]
        lines.append(f"- Recorded {record.date} at effort {effort}, code {record.code}: `{record.command}`")
    return "\n".join(lines)


def _kind(claim: Claim) -> str:
    return f"{claim.kind} (where granted: {claim.granted})" if claim.granted is not None else f"{claim.kind}"


def evidence_lines(claim: Claim, piece: Evidence) -> list[str]:
    """One piece of evidence in full, in plain words."""
    lines = [f"Looked at: {piece.ranges} ({piece.method}, {piece.num_cases:,} cases)."]
    if piece.interval is not None:
        lines.append(f"Measured: {piece.interval.text()}.")
    if piece.counterexample is not None:
        lines.append(f"Counterexample: {piece.counterexample.text()}.")
    if piece.complete:
        lines.append(f"Why this settles it: {piece.argument}.")
    elif piece.closest is not None:
        lines.append(f"Nearest to a violation: {piece.closest.text()} (slack {piece.closest.slack(claim.comparison):.4g}).")
    if piece.note:
        lines.append(piece.note)
    return lines


def _cell(text: str) -> str:
    return _plain(text if len(text) <= 240 else text[:237] + "...").replace("|", "\\|")


def _plain(text: str) -> str:
    # Underscores and stars of plain words would be read as emphasis.
    return text.replace("_", "\\_").replace("*", "\\*") if "`" not in text and "$" not in text else text


def main(arguments: list[str]) -> int:
    """Write or check the page; the exit code."""
    names = [name for name in arguments if name != "--check"]
    if len(names) != 1:
        print("usage: python -m headcount.claims.page FILE [--check]", file=sys.stderr)
        return 2
    place, text = Path(names[0]), page()
    if "--check" in arguments:
        if place.is_file() and place.read_text(encoding="utf-8") == text:
            return 0
        print(f"{place}: is stale; `make claims` writes it anew", file=sys.stderr)
        return 1
    place.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
