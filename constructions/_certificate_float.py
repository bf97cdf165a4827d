"""Tier one of the certificates: all associations at once in float64, with a-priori bounds on every rounding error.

One sweep over the model serves several *passes*. Pass 0 is the float64 computation done here, against exact arithmetic; every
further pass is the model's ordinary forward pass in some number format, of which only bounds are computed. For each quantity z a
pass keeps `size` >= |z as that pass computes it| and `error` >= |z as that pass computes it - exact z|.
The derivation is in docs/certificates.md; the numbers in brackets there are repeated here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from constructions._enclosure import FORMATS, UNIT, NumberFormat, enlarged, gamma, softmax_ranges
from theory.tasks import AssociationTask

Floats = Float[np.ndarray, "..."]
Ints = Int[np.ndarray, " samples"]

EXP_ULPS = 4
"""Assumed of the exponential inside a library's softmax: within so many units in the last place, each at most 2 u."""
TABLE_ELEMENTS = 1 << 22
BLOCK_ELEMENTS = 1 << 15
LOOSER = 2.0
"""Recorded bounds allow this times the radius, so that another machine's rounding reproduces them."""
LOOSER_FORWARD = 1 + 2.0**-20


@dataclass(frozen=True)
class Weights:
    """A model's parameters as float64 arrays, which hold every narrower format's numbers exactly; vectors are rows, see `aot`."""

    token_embedding: Float[np.ndarray, "vocab embed_dim"]
    position_embedding: Float[np.ndarray, "positions embed_dim"]
    query: Float[np.ndarray, "heads embed_dim head_dim"]
    key: Float[np.ndarray, "heads embed_dim head_dim"]
    value: Float[np.ndarray, "heads embed_dim head_dim"]
    output: Float[np.ndarray, "heads head_dim embed_dim"]
    unembedding: Float[np.ndarray, "vocab embed_dim"]


@dataclass(frozen=True)
class Margins:
    """Bounds on margins, label minus largest other logit, one entry per association.

    `lower`, `upper`: proved here and now. `recorded_lower` <= `lower`, `recorded_upper` >= `upper`; with room for other machines.
    """

    lower: Float[np.ndarray, " associations"]
    upper: Float[np.ndarray, " associations"]
    recorded_lower: Float[np.ndarray, " associations"]
    recorded_upper: Float[np.ndarray, " associations"]


@dataclass
class _Bounded:
    """A quantity as computed here, and per pass its `size` and `error`; for weights the size is that of `middle`, the error 0."""

    middle: Floats
    size: list[Floats]
    error: list[Floats]

    def pick(self, index: Int[np.ndarray, " rows"], axis: int = 0) -> "_Bounded":
        return self._map(lambda part: part.take(index, axis=axis))

    def turned(self) -> "_Bounded":
        """Heads last, all that follows them flattened before."""
        return self._map(lambda part: np.ascontiguousarray(part.reshape(len(part), -1).T))

    def _map(self, change: Callable[[Floats], Floats]) -> "_Bounded":
        return _Bounded(change(self.middle), [change(part) for part in self.size], [change(part) for part in self.error])


@dataclass(frozen=True)
class _Pass:
    form: NumberFormat
    own: bool  # pass 0: what is computed here, whose sizes are known

    def rounding(self, count: int) -> float:
        return gamma(count, self.form.unit)


def margins_float(
    weights: Weights,
    task: AssociationTask,
    indices: Int[np.ndarray, " associations"],
    formats: tuple[str, ...] = (),
    progress: Callable[[float], None] | None = None,
) -> list[Margins]:
    """Margins in exact arithmetic with these weights, then as computed by a forward pass in each of the formats.

    Args:
        weights: finite.
        task: its sequences have as many tokens as there are positions.
        indices: the associations wanted.
        formats: names in `FORMATS`; the weights must be numbers of each of them.
        progress: called with the share of the work done.

    Bounds are -inf and inf where nothing is known; no comparison with NaN can come out in favour of a claim.
    """
    passes = [_Pass(FORMATS["float64"], True), *(_Pass(FORMATS[name], False) for name in formats)]
    sweep = _Sweep(weights, task.sequences[indices], passes)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return sweep.margins(task.targets[indices], sweep.stream(progress or (lambda done: None)))


def features_float(
    weights: Weights, sequences: Int[np.ndarray, "samples positions"]
) -> tuple[Float[np.ndarray, "samples features"], Float[np.ndarray, "samples features"]]:
    """[x_S ; A^1 W_V^1 ; .. ; A^H W_V^H] per sequence, d + H d_h numbers, and bounds on their errors."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return _Sweep(weights, sequences, [_Pass(FORMATS["float64"], True)]).features()


class _Sweep:
    """The quantities of the model for some sequences, each bounded in every pass; token-level wherever the model is."""

    def __init__(self, weights: Weights, sequences: Int[np.ndarray, "samples positions"], passes: list[_Pass]) -> None:
        self.weights, self.passes = weights, passes
        self.samples, self.positions = sequences.shape
        self.heads, self.embed_dim, self.head_dim = weights.query.shape
        seen = [np.unique(column, return_inverse=True) for column in sequences.T]
        self.index = [inverse.reshape(-1) for _, inverse in seen]
        self.rows = [self._rows(position, tokens) for position, (tokens, _) in enumerate(seen)]
        most = max(len(row.middle) for row in self.rows)
        pairs = most * len(self.rows[-1].middle)
        self.tabled = pairs <= 4 * self.samples
        wide = max(pairs if self.tabled else 1, most * (self.head_dim + self.embed_dim))
        size = max(1, min(self.heads, TABLE_ELEMENTS // wide))
        self.chunks = [slice(start, min(self.heads, start + size)) for start in range(0, self.heads, size)]

    # How errors spread ----------------------------------------------------------------------------------------------------------

    def _finished(self, middle: Floats, errors: list[Floats]) -> _Bounded:
        """Sizes from errors; both are infinite where the computation done here overflowed."""
        broken = ~np.isfinite(middle)
        if broken.any():
            errors = [np.where(broken, np.inf, error) for error in errors]
        near = np.abs(middle)
        sizes = [near if way.own else enlarged(near + errors[0] + error, 4)
                 for way, error in zip(self.passes, errors, strict=True)]
        return _Bounded(middle, sizes, errors)

    def _closed(self, way: _Pass, error: Floats, count: int, products: int, left: float, right: float) -> Floats:
        """A bound for sums of `products` products with factors up to `left` and `right`, closed against all that is left out.

        `error` >= gamma_count sum |products|: so error / gamma bounds every partial sum, and tells where one may overflow.
        """
        error = enlarged(error, products + 8)
        crowded = error > way.rounding(count) * way.form.largest / 8
        if crowded.any():
            error = np.where(crowded, np.inf, error)
        return error + 8 * products * way.form.lost * (1 + left) * (1 + right)

    def _rows(self, position: int, tokens: Int[np.ndarray, " tokens"]) -> _Bounded:
        """[1] x = e + pos: one rounding."""
        middle = self.weights.token_embedding[tokens] + self.weights.position_embedding[position]
        own = self._closed(self.passes[0], np.abs(middle) * self.passes[0].rounding(1), 1, 2, 1.0, 1.0)
        others = [self._closed(way, (np.abs(middle) + own) * way.rounding(1), 1, 2, 1.0, 1.0) for way in self.passes[1:]]
        return self._finished(middle, [own, *others])

    def _times(self, left: _Bounded, matrix: Floats) -> _Bounded:
        """[2] left @ weights: gamma_n |left| |W| + error |W|."""
        count, near = matrix.shape[-2], np.abs(matrix)
        errors = [
            self._closed(way, (size * way.rounding(count) + error) @ near, count, count, _top(size, error), _top(near))
            for way, size, error in zip(self.passes, left.size, left.error, strict=True)
        ]
        return self._finished(left.middle @ matrix, errors)

    def _dots(self, queries: _Bounded, keys: _Bounded, table: bool) -> _Bounded:
        """[3] q . k, as a table (heads, last tokens, tokens) or row by row (heads, rows).

        Error gamma_n |q||k| + |q| E_k + E_q (|k| + E_k).
        """

        def dot(left: Floats, right: Floats) -> Floats:
            return left @ np.swapaxes(right, -1, -2) if table else np.einsum("hne,hne->hn", left, right)

        count, errors = self.head_dim, []
        for way, q, q_error, k, k_error in zip(
            self.passes, queries.size, queries.error, keys.size, keys.error, strict=True
        ):
            left = np.concatenate([q * way.rounding(count) + q_error, q], axis=-1)
            error = dot(left, np.concatenate([k + k_error, k_error], axis=-1))
            errors.append(self._closed(way, error, count, 2 * count, _top(q, q_error), _top(k, k_error)))
        return self._finished(dot(queries.middle, keys.middle), errors)

    # The model ------------------------------------------------------------------------------------------------------------------

    def stream(self, progress: Callable[[float], None]) -> _Bounded:
        """[6] x_S + what all heads add, (samples, embed_dim); `progress` is told the share done."""
        skip = self.rows[-1].pick(self.index[-1])
        total = np.zeros((self.samples, 1 + len(self.passes), self.embed_dim))  # the sum, and its error in every pass
        tops = [0.0 for _ in self.passes]
        for number, heads in enumerate(self.chunks):
            written = [self._written(row, heads, tops) for row in self.rows]
            scores = [self._scores(position, heads) for position in range(self.positions)]
            step = max(1, TABLE_ELEMENTS // ((heads.stop - heads.start) * self.positions))
            for start in range(0, self.samples, step):
                samples = slice(start, min(self.samples, start + step))
                attention = self._attention(scores, samples, heads.stop - heads.start)
                for weight, write, index in zip(attention, written, self.index, strict=True):
                    _mix(weight, write, index[samples], total[samples])
                progress((number + samples.stop / self.samples) / len(self.chunks))
        terms, far, closed = self.positions * self.heads * self.head_dim + 2, _top(np.abs(self.weights.output)), []
        for number, (way, size, error, top) in enumerate(zip(self.passes, skip.size, skip.error, tops, strict=True)):
            count = self._roundings(way)
            spread = total[:, 1 + number] + size * way.rounding(count) + error
            closed.append(self._closed(way, spread, count, terms, top, far))
        return self._finished(total[:, 0] + skip.middle, closed)

    def features(self) -> tuple[Floats, Floats]:
        """[8] x_S and the heads' mixed values, with their errors in pass 0."""
        skip, way, middles, errors = self.rows[-1].pick(self.index[-1]), self.passes[0], [], []
        for heads in self.chunks:
            scores = [self._scores(position, heads) for position in range(self.positions)]
            values = [self._times(row, self.weights.value[heads]) for row in self.rows]
            count = heads.stop - heads.start
            attention = self._attention(scores, slice(0, self.samples), count)
            middle, top = np.zeros((self.samples, count, self.head_dim)), 0.0
            error = np.zeros_like(middle)
            for (weight, (width,)), value, index in zip(attention, values, self.index, strict=True):
                mid, size, wrong = (part[:, index].transpose(1, 0, 2) for part in (value.middle, value.size[0], value.error[0]))
                middle += weight[..., None] * mid
                error += weight[..., None] * (size * way.rounding(self.positions + 1) + wrong)
                error += width[..., None] * (size + wrong)
                top = max(top, _top(value.size[0], value.error[0]))
            error = self._closed(way, error, self.positions + 1, self.positions + 8, 1.0, top)
            whole = self._finished(middle, [error])
            middles.append(whole.middle.reshape(self.samples, -1))
            errors.append(whole.error[0].reshape(self.samples, -1))
        return np.concatenate([skip.middle, *middles], axis=1), np.concatenate([skip.error[0], *errors], axis=1)

    def _roundings(self, way: _Pass) -> int:
        """[5] the most roundings that a term a v o of the stream takes part in."""
        if way.own:  # v o; over the heads of a chunk; over positions and chunks; the skip
            return self.head_dim + self.heads + self.positions * len(self.chunks) + 4
        return self.positions * self.heads * self.head_dim + 4  # in any order

    def _written(self, row: _Bounded, heads: slice, tops: list[float]) -> tuple[Floats, list[Floats]]:
        """[4] per token what `_mix` multiplies: with weights v o and gamma |v||o| + E_v |o|, with errors |v||o| + 2 E_v |o|.

        With a weight computed as at most a + E, the exact one at most a + E, and E its error, the terms a v o have the error
        gamma (a + E) |v||o| + (a + E) E_v |o| + E (|v| + E_v) |o| in any order of summation, which is the sum of these products.
        """
        values = self._times(_Bounded(row.middle, row.size, row.error), self.weights.value[heads])  # (heads, tokens, head_dim)
        output = self.weights.output[heads]
        near, direct, indirect = np.abs(output), [values.middle @ output], []
        for place, (way, size, error) in enumerate(zip(self.passes, values.size, values.error, strict=True)):
            tops[place] = max(tops[place], _top(size, error))
            sizes, errors = enlarged(size @ near, self.head_dim), enlarged(error @ near, self.head_dim)
            errors[~(sizes <= way.form.largest / 8)] = np.inf  # this product may be formed before the small weight comes in
            rounding = way.rounding(self._roundings(way))
            direct.append(sizes * rounding + errors)
            indirect.append(np.ascontiguousarray((sizes * (1 + rounding) + 2 * errors).transpose(1, 0, 2)))
        return np.ascontiguousarray(np.concatenate(direct, axis=-1).transpose(1, 0, 2)), indirect

    def _scores(self, position: int, heads: slice) -> "Callable[[slice], _Bounded]":
        """Scores at a position for a range of samples, (samples, heads)."""
        queries = self._times(self.rows[-1], self.weights.query[heads])
        keys = self._times(self.rows[position], self.weights.key[heads])
        index, last = self.index[position], self.index[-1]
        if position == self.positions - 1:
            table, index = self._dots(queries, keys, False).turned(), last
        elif self.tabled:
            table = self._dots(queries, keys, True).turned()
            index = last * len(self.rows[position].middle) + index
        else:
            return lambda rows: self._dots(queries.pick(last[rows], 1), keys.pick(index[rows], 1), False).turned()
        return lambda rows: table.pick(index[rows])

    def _attention(
        self, scores: "list[Callable[[slice], _Bounded]]", samples: slice, heads: int
    ) -> list[tuple[Floats, list[Floats]]]:
        """[5] per position the weights (samples, heads), and per pass their error."""
        count = samples.stop - samples.start
        made = [(np.empty((count, heads)), [np.empty((count, heads)) for _ in self.passes]) for _ in scores]
        step = max(1, BLOCK_ELEMENTS // heads)
        for start in range(0, count, step):
            rows = slice(start, min(count, start + step))
            block = [score(slice(samples.start + rows.start, samples.start + rows.stop)) for score in scores]
            largest = block[0].middle
            for score in block[1:]:
                largest = np.maximum(largest, score.middle)
            exponents = [score.middle - largest for score in block]
            cases = [self._deviations(number, block, exponents) for number in range(len(self.passes))]
            weights, widths = softmax_ranges(exponents, cases)
            for place, weight in enumerate(weights):
                made[place][0][rows] = weight
                own = None
                for number, way in enumerate(self.passes):
                    own = self._weight_error(way, weight, widths[number][place], own, made[place][1][number][rows])
        return made

    def _deviations(self, number: int, block: list[_Bounded], exponents: list[Floats]) -> list[Floats]:
        """How far this pass' exponents, and the exact ones, can be from those computed here."""
        way, own = self.passes[number], 2 * UNIT
        if way.own:
            return [score.error[0] * (1 + own) + np.abs(exponent) * own for score, exponent in zip(block, exponents, strict=True)]
        apart = [score.error[0] + score.error[number] for score in block]
        most = apart[0]
        for part in apart[1:]:
            most = np.maximum(most, part)
        unit = way.form.unit * (1 + 2.0**-20) + own
        assumed = (2 * EXP_ULPS + 1) * way.form.unit + 4 * way.form.lost
        return [
            (part + unit * (np.abs(exponent) + part + most) + assumed) * (1 + 16 * UNIT)
            for part, exponent in zip(apart, exponents, strict=True)
        ]

    def _weight_error(self, way: _Pass, weight: Floats, width: Floats, own: Floats | None, out: Floats) -> Floats:
        """The error of a softmax weight: the width, and the rounding of the sum and the division; returns that of pass 0.

        In further passes weights may be off from the exact ones, and those from `weight`: the two errors are added up.
        """
        if own is None:
            np.multiply(weight, (self.positions + 8) * UNIT, out=out)
            out += width * (1 + 8 * UNIT)
            out += 1e-299
            return out
        np.add(weight, width, out=out)
        np.minimum(out, 1.0, out=out)
        out *= way.rounding(self.positions + 3) * (1 + 16 * UNIT)
        out += width
        out += own * (1 + 16 * UNIT)
        out += 8 * (self.positions + 2) * way.form.lost
        return own

    # Margins --------------------------------------------------------------------------------------------------------------------

    def margins(self, targets: Int[np.ndarray, " samples"], stream: _Bounded) -> list[Margins]:
        """[7] label minus every other logit, for the samples of one label at a time: rows of W_U are subtracted first."""
        found = [tuple(np.empty(self.samples) for _ in range(4)) for _ in self.passes]
        unembedding = self.weights.unembedding
        step = max(1, TABLE_ELEMENTS // len(unembedding))
        for label in np.unique(targets):
            apart = unembedding[label] - unembedding
            equal = (unembedding == unembedding[label]).all(axis=1)
            equal[label] = False
            both = np.abs(unembedding[label]) + np.abs(unembedding)
            members = np.flatnonzero(targets == label)
            for start in range(0, len(members), step):
                some = members[start : start + step]
                for number, bounds in enumerate(self._gaps(stream.pick(some), apart, both, int(label), equal)):
                    for kept, bound in zip(found[number], bounds, strict=True):
                        kept[some] = bound
        return [Margins(*arrays) for arrays in found]

    def _gaps(
        self, stream: _Bounded, apart: Floats, both: Floats, label: int, equal: Bool[np.ndarray, " vocab"]
    ) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        count, near, far = self.embed_dim + 1, np.abs(apart), _top(both)
        middle = stream.middle @ apart.T
        first = self.passes[0]
        radius = (stream.size[0] * first.rounding(count) + stream.error[0] * (1 + 4 * UNIT)) @ near.T
        radius = self._closed(first, radius, count, count, _top(stream.size[0], stream.error[0]), far)
        radius[~np.isfinite(middle)] = np.inf
        middle[:, equal], radius[:, equal] = 0.0, 0.0  # equal rows tie whatever the stream is
        middle[:, label], radius[:, label] = np.inf, 0.0
        for way, size, error in zip(self.passes, stream.size, stream.error, strict=True):
            extra = np.zeros_like(radius)
            if not way.own:
                logits = self._closed(way, (size * way.rounding(self.embed_dim)) @ both.T, self.embed_dim, 2 * self.embed_dim,
                                      _top(size, error), far)
                extra = enlarged(error * (1 + 4 * UNIT) @ near.T, self.embed_dim + 8) + logits
                extra[:, label] = 0.0
            sides = [(1.0, 1.0), (LOOSER, LOOSER_FORWARD)]
            bounds = [_least(middle, side, radius * wider + extra * more) for wider, more in sides for side in (-1, 1)]
            if way.own and equal.any():  # a tie exactly, which rounding outward must not hide
                bounds[1], bounds[3] = np.minimum(bounds[1], 0.0), np.minimum(bounds[3], 0.0)
            yield bounds[0], bounds[1], bounds[2], bounds[3]


def _least(middle: Floats, side: int, radius: Floats) -> Floats:
    """Per row the least of middle -+ radius, rounded outward; what NaN says is nothing: -inf below, left out above."""
    bounds = middle + side * (radius * (1 + 8 * UNIT))
    least = bounds.min(axis=1) if side < 0 else np.fmin.reduce(bounds, axis=1)
    return np.where(np.isnan(least), side * np.inf, np.nextafter(least, side * np.inf))


def _mix(weight: tuple[Floats, list[Floats]], written: tuple[Floats, list[Floats]], index: Ints, total: Floats) -> None:
    """Add sum_h a_h v_h W_O^h at one position, and its error in every pass, to (samples, 1 + passes, d): `_Sweep._written`."""
    order = np.argsort(index, kind="stable")
    tokens, starts = np.unique(index[order], return_index=True)
    for token, rows in zip(tokens.tolist(), np.split(order, starts[1:]), strict=True):
        part = (weight[0][rows] @ written[0][token]).reshape(len(rows), total.shape[1], -1)
        for number, (error, right) in enumerate(zip(weight[1], written[1], strict=True)):
            part[:, 1 + number] += error[rows] @ right[token]
        total[rows] += part


def _top(*parts: Floats) -> float:
    """The largest finite entry of non-negative arrays, summed over the arrays."""
    return sum(float(np.max(part, initial=0.0, where=np.isfinite(part))) for part in parts)
