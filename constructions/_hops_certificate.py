"""A certificate for a built hop model: it is right on every string of its length, by induction over layers.

The argument. Let all registers of the stream hold the whole numbers that the recipe means before a layer. Every head's scores are
then exact (no sum of terms needs more digits than the number format has, whatever the order), so the position that is meant is
ahead of every other by the head's gap, and so little attention goes elsewhere that what arrives is off by less than 1/2: rounding
in the map gives the whole number back (recipes A, B), or none at all because the other weights are zero (recipe C). Behind the
last layer the register y holds the code of hop_k(i), and the largest logit is that code's. What the argument needs are
inequalities; each is computed from the model's own tensors and programs and listed with both sides.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constructions._certificate_files import CertificateFileError
from constructions._hops_construction import HopConstruction
from constructions._hops_layout import Head, Plan
from constructions._hops_points import point_errors
from constructions._hops_recipes import plan_of
from constructions._hops_scores import ScoreFacts, score_facts
from constructions.element_wise import ElementWise
from constructions.transformer import PARAMETER_NAMES, Transformer
from theory._whole_files import whole_files
from theory.hop_precision import CIRCLE_PRIMITIVES, UNDERFLOW, guaranteed_gap, payload_error, payload_of, significand_bits
from theory.hops import layers_needed, reach

FORMAT = "headcount hop certificate, version 1"
MOST_BYTES = 1 << 22
LARGEST = 1e300  # stands for "there is no other position" in a gap: JSON has no infinity

COMMON_ASSUMPTIONS = (
    "arithmetic of the number format is IEEE 754, rounded to nearest, sums in any order, products fused or not",
    "exp(0) = 1 exactly, exp is off by at most four units in the last place, and exp(x) = 0 where e^x is below half of the least "
    "positive number",
    "softmax subtracts the row's largest score, takes exponentials, and divides by their sum or multiplies with its reciprocal",
)
CIRCLE_ASSUMPTION = "cosine and sine are off by at most one unit in the last place (measured at every angle that occurs)"


@dataclass(frozen=True)
class Inequality:
    """One condition with both sides as computed from the model: left `relation` right ("<", ">", "<=", ">=" or "=")."""

    name: str
    left: float | int
    relation: str
    right: float | int
    why: str

    @property
    def holds(self) -> bool:
        """Whether it is true; of NaN nothing is."""
        left, right = self.left, self.right
        return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right, "=": left == right}[self.relation]


@dataclass(frozen=True)
class HopCertificate:
    """What `certify_hops` found: proved if every inequality holds.

    Attributes:
        statement: what is proved, in words.
        built: sizes, recipe, encoding, scale and number format of the model.
        assumptions: on arithmetic and the library, not provable from weights.
        inequalities: all conditions, with both sides.
        weights: SHA-256 of the model's tensors and programs.
    """

    statement: str
    built: Mapping[str, Any]
    assumptions: tuple[str, ...]
    inequalities: tuple[Inequality, ...]
    weights: str

    @property
    def proved(self) -> bool:
        """Whether all inequalities hold."""
        return all(each.holds for each in self.inequalities)

    @property
    def failures(self) -> tuple[Inequality, ...]:
        """Those that don't."""
        return tuple(each for each in self.inequalities if not each.holds)

    def text(self) -> str:
        """The verdict in one line."""
        if self.proved:
            return f"proved: {len(self.inequalities)} inequalities hold; {self.statement}"
        worst = self.failures[0]
        sides = f"{worst.left:g} {worst.relation} {worst.right:g}"
        return f"not proved: {len(self.failures)} of {len(self.inequalities)} inequalities fail, first {worst.name}: {sides}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, whole or not at all. CertificateFileError where no file can be written."""
        place = Path(path)
        lines = [asdict(each) | {"holds": each.holds} for each in self.inequalities]
        content = {
            "format": FORMAT, "proved": self.proved, "statement": self.statement, "built": dict(self.built),
            "assumptions": list(self.assumptions), "inequalities": lines, "weights": self.weights,
        }  # fmt: skip
        if not place.resolve().parent.is_dir():
            raise CertificateFileError(f"{place}: an ordinary file in an existing folder is legal as a place for a certificate")
        try:
            with whole_files(place) as (partial,):
                partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CertificateFileError(f"{place}: can't be written ({error})") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "HopCertificate":
        """Read what `save` wrote; what it says is for `recheck` to judge. CertificateFileError for anything else."""
        place = Path(path)
        try:
            if not place.is_file() or place.stat().st_size > MOST_BYTES:
                raise CertificateFileError(f"{place}: is no ordinary file of at most {MOST_BYTES} bytes")
            content = json.loads(place.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise CertificateFileError(f"{place}: is no hop certificate (it lacks format = {FORMAT!r})")
            lines = tuple(_inequality(line) for line in content["inequalities"])
            words = tuple(str(word) for word in content["assumptions"])
            found = cls(str(content["statement"]), dict(content["built"]), words, lines, str(content["weights"]))
            if content["proved"] is not found.proved:
                raise CertificateFileError(f"{place}: its verdict is not that of its inequalities")
        except CertificateFileError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CertificateFileError(f"{place}: is no readable hop certificate ({type(error).__name__}: {error})") from error
        return found


def certify_hops(construction: HopConstruction) -> HopCertificate:
    """Prove, or say where it fails, that a built model is right at every position of every string of its length.

    Raises nothing for wrong weights: that is a result, an inequality that does not hold.

    Cost: as many multiplications as one head has scores, some times over, for each head; independent of |Sigma|^N.
    """
    task, bits = construction.task, significand_bits(construction.dtype)
    plan = plan_of(task, construction.recipe, construction.encoding, construction.scale)
    lines = [*_structure(construction, plan), *_registers(construction, plan, bits)]
    lines += [*_scale(construction), *_depth(construction)]
    if construction.encoding == "circle":
        lines += _points(construction, plan, bits)
    for layer, heads in enumerate(plan.layers):
        for index, head in enumerate(heads):
            lines += _head(construction, plan, layer, index, head, bits)
    lines += _answers(construction, plan, bits)
    built = {
        "vocab_size": task.vocab_size, "seq_len": task.seq_len, "min_hops": task.min_hops, "max_hops": task.max_hops,
        "recipe": construction.recipe, "encoding": construction.encoding, "scale": construction.scale,
        "dtype": construction.dtype, "num_layers": construction.num_layers,
    }  # fmt: skip
    hops = f"every k from 0 to {task.max_hops}" if construction.multi_task else f"k = {task.max_hops}"
    statement = (
        f"for {hops}, every string of {task.seq_len} symbols out of {task.vocab_size} and every position i, the largest logit is "
        f"the token of hop_k(i), or the missing token where find^k(i) = 0; at position 0 it is the blank"
    )
    assumptions = COMMON_ASSUMPTIONS + ((CIRCLE_ASSUMPTION,) if construction.encoding == "circle" else ())
    return HopCertificate(statement, built, assumptions, tuple(lines), weights_hash(construction))


def recheck(certificate: HopCertificate, construction: HopConstruction) -> tuple[str, ...]:
    """Compute everything again from the model's weights; names of what disagrees or does not hold, nothing if all is well."""
    again = certify_hops(construction)
    parts = ("statement", "built", "assumptions", "weights")
    found = [name for name in parts if getattr(again, name) != getattr(certificate, name)]
    before, now = ({each.name: each for each in one.inequalities} for one in (certificate, again))
    found += [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    return tuple(dict.fromkeys([*found, *(each.name for each in (*certificate.failures, *again.failures))]))


def weights_hash(construction: HopConstruction) -> str:
    """SHA-256 of the tensors and programs of the model."""
    model, digest = construction.model, hashlib.sha256()
    for name in PARAMETER_NAMES:
        tensor = getattr(model, name).detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    digest.update(json.dumps([each.as_plain() if isinstance(each, ElementWise) else repr(each) for each in model.maps]).encode())
    return digest.hexdigest()


def _structure(construction: HopConstruction, plan: Plan) -> Iterator[Inequality]:
    model = construction.model
    wanted = plan.realised(construction.task, model.dtype)
    for name in PARAMETER_NAMES:
        here, there = getattr(model, name).detach().cpu(), getattr(wanted, name)
        differs = int((here != there).sum()) if here.shape == there.shape else here.numel() + 1
        yield Inequality(f"weights: {name}", differs, "=", 0, "entries that are not the recipe's, which say who copies what")
    ours, theirs = _programs(model), _programs(wanted)
    differ = sum(one != other for one, other in zip(ours, theirs, strict=False)) + abs(len(ours) - len(theirs))
    yield Inequality("programs", differ, "=", 0, "maps that are not the recipe's")
    options = [
        type(model) is Transformer, model.positions == "residual", model.score_scale == 1.0, model.causal,
        construction.roles == plan.roles(),
    ]  # fmt: skip
    why = "the class Transformer, residual positions, scores unscaled, causal mask, roles as built"
    yield Inequality("options", options.count(False), "=", 0, why)


def _programs(model: torch.nn.Module) -> list[object]:
    # Of exactly this class: another one's calls may do something else.
    return [each.as_plain() if type(each) is ElementWise else repr(each) for each in getattr(model, "maps", ())]


def _registers(construction: HopConstruction, plan: Plan, bits: int) -> Iterator[Inequality]:
    embedded, written = _largest_registers(construction)
    yield Inequality("registers: embedded", embedded, "<", 2.0**bits, "position, its square, symbol, its square, k")
    why = "positions and ranks to N, symbols to S, sums of their squares, angles' whole numbers: whatever maps and heads write"
    yield Inequality("registers: written", written, "<", 2.0**bits, why)


def _largest_registers(construction: HopConstruction) -> tuple[float, float]:
    """The largest numbers that embeddings, and that maps and heads, put into the stream."""
    task, model = construction.task, construction.model
    embedded = max(float(each.detach().abs().max()) for each in (model.token_embedding, model.position_embedding))
    n, s = task.seq_len, task.vocab_size
    written = {"A": max(n, s * s), "B": max(n, n * n + s * s), "C": max(n, s * s)}[construction.recipe]
    if construction.encoding == "circle":
        written = max(written, 2 * n * s + n)
    return embedded, float(written)


def _scale(construction: HopConstruction) -> Iterator[Inequality]:
    model = construction.model
    largest = max(_largest_registers(construction))
    reach_of = [float(each.detach().double().abs().sum(2).max()) * largest for each in (model.query, model.key)]
    why = "coordinates of a head times the largest query and key that its weights give: no score overflows"
    bound = model.shape.head_dim * reach_of[0] * reach_of[1]
    yield Inequality("scale: overflow", min(bound, sys.float_info.max), "<", torch.finfo(model.dtype).max, why)
    if construction.encoding == "circle":  # in whole numbers the scores' own digits are looked at
        why = "mantissa of the scale: multiplying with it rounds nothing"
        yield Inequality("scale: power of two", math.frexp(construction.scale)[0], "=", 0.5, why)


def _depth(construction: HopConstruction) -> Iterator[Inequality]:
    layers, most = construction.num_layers, construction.task.max_hops
    recipe = construction.recipe
    yield Inequality("depth: reach", reach(max(layers, 2), recipe), ">=", most, "the largest k that so many layers serve")
    yield Inequality("depth: formula", layers, "=", layers_needed(most, recipe), "layers of the recipe for the largest k")


def _points(construction: HopConstruction, plan: Plan, bits: int) -> Iterator[Inequality]:
    radius, angle = point_errors(construction, plan)
    why = "largest error over all points that occur, in units of 2^-p"
    yield Inequality("circle: radius", radius * 2.0**bits, "<=", 1.5, why)
    yield Inequality("circle: angle", angle * 2.0**bits, "<=", 4 * math.pi + 2, why)


def _head(construction: HopConstruction, plan: Plan, layer: int, index: int, head: Head, bits: int) -> Iterator[Inequality]:
    task, model, encoding = construction.task, construction.model, construction.encoding
    split = [0, len(head.query)] if not head.beside else [0, 2, len(head.query)]
    for primitive, begin, end in zip(head.primitives, split[:-1], split[1:], strict=True):
        columns, name = slice(begin, end), f"layer {layer + 1}, head {index}, {primitive}"
        query, key = (tensor[layer, index, :, columns].detach().double().numpy() for tensor in (model.query, model.key))
        if encoding == "circle" and primitive in CIRCLE_PRIMITIVES:
            # A gap of exact cosines, less what points and products may be off by, times the scale that the weights have.
            gap = guaranteed_gap(primitive, encoding, task.seq_len, task.vocab_size, construction.dtype) * float(abs(query).max())
        else:
            reads = tuple(tuple(dict.fromkeys(n for form in forms[columns] for n in form)) for forms in (head.query, head.key))
            shifted = head.role == "previous token"
            facts: ScoreFacts = score_facts(
                primitive, query, key, plan.coordinates, (reads[0], reads[1]), task.seq_len, task.vocab_size, shifted
            )
            gap = facts.gap
            yield Inequality(f"{name}: reads", facts.unread, "=", 0, "weights on coordinates that its score does not have")
            why = "largest sum of some terms of a score in units of what divides it: all sums exact, in any order"
            yield Inequality(f"{name}: exact scores", facts.digits, "<=", 2.0**bits, why)
            if primitive == "count":
                yield Inequality(f"{name}: tie", facts.tie, "=", 0, "scores of the start and of equal symbols are the same")
        gap = min(gap, LARGEST)
        yield Inequality(f"{name}: gap", gap, ">", 0.0, "score of the attended position over any other, all states")
        if construction.recipe == "C":
            why = "e^-gap rounds to zero: the row is one-hot, and what arrives is the attended position's value, bit for bit"
            yield Inequality(f"{name}: one-hot", gap, ">=", UNDERFLOW[construction.dtype], why)
            row = torch.softmax(torch.tensor([0.0, -min(gap, 1e30)], dtype=model.dtype), 0)
            off = float(row[1]) + abs(float(row[0]) - 1)
            yield Inequality(f"{name}: softmax here", off, "=", 0, "what this library's softmax gives elsewhere at that gap")
        else:
            payload = payload_of(primitive, task.seq_len, task.vocab_size, task.max_hops)
            error = payload_error(primitive, encoding, task.seq_len, payload, gap, construction.dtype) if gap > 0 else LARGEST
            why = f"leaked mass and rounding, times at most {payload}: the map rounds it away"
            yield Inequality(f"{name}: arrival", min(error, LARGEST), "<", 0.5, why)


def _answers(construction: HopConstruction, plan: Plan, bits: int) -> Iterator[Inequality]:
    # Logits are linear in (1, e, y): all their values, from the unembedding itself.
    task, table = construction.task, construction.model.unembedding.detach().double().numpy()
    names = plan.coordinates
    one, start, answer = (table[:, names.index(name)] for name in ("one", "e", plan.answer))
    others = np.delete(table, [names.index(name) for name in ("one", "e", plan.answer)], axis=1)
    yield Inequality("answer: reads", int(np.count_nonzero(others)), "=", 0, "unembedding weights on other coordinates")
    margin, largest = math.inf, 0.0
    for code in range(task.vocab_size + 1):
        logits = one + code * answer
        right = task.missing_token if code == 0 else task.symbol_tokens + code - 1
        margin = min(margin, float(logits[right] - np.delete(logits, right).max()))
        largest = max(largest, float(abs(logits).max()), float(abs(code * answer).max()) / 2, float(abs(one).max()))
    logits = one + start
    margin = min(margin, float(logits[task.blank_token] - np.delete(logits, task.blank_token).max()))
    yield Inequality("answer: exact logits", largest, "<", 2.0**bits, "every term and sum of a logit, even ones halved")
    yield Inequality("answer: margin", margin, ">=", 1.0, "right logit over any other, for every answer and at the start")


def _inequality(line: object) -> Inequality:
    if not isinstance(line, dict) or set(line) != {"name", "left", "relation", "right", "why", "holds"}:
        raise ValueError("an inequality lacks a part")
    numbers = [line["left"], line["right"]]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise ValueError("an inequality's sides are no numbers")
    if line["relation"] not in ("<", ">", "<=", ">=", "="):
        raise ValueError("an inequality's relation is unknown")
    return Inequality(str(line["name"]), line["left"], line["relation"], line["right"], str(line["why"]))
