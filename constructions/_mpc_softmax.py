"""One layer of attention computed by machines that exchange messages: trees that merge partial means.

Part of a softmax mean is a pair: log Z, the logarithm of the part's sum of exponentials, and S, its own mean. Two such pairs make
one, and the operation is associative, so a tree of machines with little memory computes a row of any length; this is also how
attention is computed in blocks. Masked parts have log Z = -infinity.

Source: Sanford, Hsu and Telgarsky 2024, Theorem 3.4. Numbers are float64 words here and not fixed-point ones, and the rounding
bound is derived here: it grows with the depth D of the tree, where the paper's, made for fixed-point numbers, is (8b)^D.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from theory.parallel import ConverseLayout, Messages, Outbox, ParallelModel, Protocol, Transcript, Words, converse_layout, execute

UNIT = 2.0**-53


def merge(
    log_sums: Float[np.ndarray, " parts"], means: Float[np.ndarray, "parts dim"]
) -> tuple[float, Float[np.ndarray, " dim"]]:
    r"""One part out of several: \(Z = \sum_c Z_c\), \(S = \sum_c (Z_c / Z) S_c\), with log Z kept instead of Z.

    Args:
        log_sums: log Z of the parts, -infinity where a part is empty.
        means: S of the parts; that of an empty part does not count.

    Returns:
        log Z and S; -infinity and zeros when all parts are empty.
    """
    largest = float(log_sums.max())
    if largest == -math.inf:
        return largest, np.zeros(means.shape[1])
    weights = np.exp(log_sums - largest)
    total = float(weights.sum())
    return largest + math.log(total), (weights / total) @ means


class SoftmaxMessages(Protocol):
    r"""A layer of H heads on N tokens in 2D + 3 rounds.

    Input words: for every token its query, key and value, all heads of each side by side; output words: for every token what the
    heads give it. Rounds: 1 brings tokens to their machines; D carry queries, and keys with values, down a tree per token to its
    N leaves; 1 brings the leaves (i, j) of both kinds together on one of N^2 machines, which has the score of j for i; D merge
    parts up the tree of i; 1 packs the output.

    Args:
        seq_len: N >= 2.
        num_heads: H >= 1.
        head_dim: m >= 1, of queries, keys and values alike.
        words_per_machine: s >= 8 m H.
        visible: whether token i sees token j, (N, N); all unless given. Every row sees at least one.

    Raises:
        ValueError: trees without branches (s too small), or a row that sees nothing.
    """

    def __init__(
        self,
        seq_len: int,
        num_heads: int,
        head_dim: int,
        words_per_machine: int,
        visible: Bool[np.ndarray, "queried positions"] | None = None,
    ) -> None:
        self.layout: ConverseLayout = converse_layout(seq_len, num_heads, head_dim, words_per_machine)
        self.seq_len, self.num_heads, self.head_dim, self.limit = seq_len, num_heads, head_dim, words_per_machine
        self.visible = np.ones((seq_len, seq_len), dtype=np.bool_) if visible is None else visible
        if self.visible.shape != (seq_len, seq_len) or not self.visible.any(1).all():
            raise ValueError(f"visible has shape {self.visible.shape}: legal is ({seq_len}, {seq_len}) with no empty row")
        n, block, depth = seq_len, num_heads * head_dim, self.layout.depth
        self._block, self._packed = block, words_per_machine // (3 * block)
        self._counts = [-(-n // self.layout.branching ** (depth - t)) for t in range(depth + 1)]
        self._offsets = [sum(self._counts[1:t]) for t in range(depth + 2)]
        self._tree = self._offsets[-1]
        self.num_rounds, self.num_machines = self.layout.num_rounds, self.layout.num_machines
        self.num_words, self.num_outputs = 3 * n * block, n * block
        self.input_share = 3 * block * self._packed
        self.message_words, self.max_messages = 3 * block, max(2 * self.layout.branching, 3 * self._packed)

    def model(self) -> ParallelModel:
        """s words on every machine; the input packed in whole tokens."""
        share, machines = self.input_share, self.num_machines
        return ParallelModel(self.num_words, words_per_machine=self.limit, num_machines=machines, input_share=share)

    def _node(self, kind: int, token: int, depth: int, place: int) -> int:
        """The machine at a place of a tree: kind 0 carries queries, 1 keys and values; depth 0 is the token's own machine."""
        if depth == 0:
            return token
        n = self.seq_len
        return n + n * n + (kind * n + token) * self._tree + self._offsets[depth] + place

    def _role(self, machine: int) -> tuple[int, int, int, int]:
        """(kind, token, depth, place) of a tree machine."""
        which, rest = divmod(machine - self.seq_len * (self.seq_len + 1), self._tree)
        depth = next(t for t in range(1, self.layout.depth + 1) if rest < self._offsets[t + 1])
        return *divmod(which, self.seq_len), depth, rest - self._offsets[depth]

    def _down(self, kind: int, token: int, depth: int, place: int, words: Words) -> Iterator[tuple[int, Words]]:
        """Messages to the children; from a leaf to the machine of the inner product."""
        if depth == self.layout.depth:
            query, key = (token, place) if kind == 0 else (place, token)
            yield self.seq_len + query * self.seq_len + key, words
            return
        branching = self.layout.branching
        for child in range(place * branching, min((place + 1) * branching, self._counts[depth + 1])):
            yield self._node(kind, token, depth + 1, child), words

    def local(self, machine: int, round: int, memory: Words, received: Messages) -> tuple[Words, Outbox]:
        """Pass words down, compute a score, or merge parts and pass them up: machines remember nothing between rounds."""
        if round == 1:
            size = 3 * self._block
            first = machine * self._packed
            return (), tuple((first + at // size, memory[at : at + size]) for at in range(0, len(memory), size))
        if not received:
            return (), ()
        n, depth = self.seq_len, self.layout.depth
        if round == self.num_rounds + 1:
            return tuple(word for _, words in received for word in words), ()
        if machine < n and round == 2:
            words, block = received[0][1], self._block
            return (), (*self._down(0, machine, 0, 0, words[:block]), *self._down(1, machine, 0, 0, words[block:]))
        if machine >= n * (n + 1) and round <= depth + 2:
            kind, token, at, place = self._role(machine)
            return (), tuple(self._down(kind, token, at, place, received[0][1]))
        if n <= machine < n * (n + 1):
            query, key = divmod(machine - n, n)
            return (), ((self._node(0, query, depth - 1, key // self.layout.branching), self._score(query, key, received)),)
        parts = np.array([words for _, words in received]).reshape(len(received), self.num_heads, self.head_dim + 1)
        merged = [merge(parts[:, head, 0], parts[:, head, 1:]) for head in range(self.num_heads)]
        if machine < n:
            return (), ((machine // (3 * self._packed), tuple(float(x) for _, mean in merged for x in mean)),)
        _kind, token, at, place = self._role(machine)
        words = tuple(float(x) for log_sum, mean in merged for x in (log_sum, *mean))
        return (), ((self._node(0, token, at - 1, place // self.layout.branching), words),)

    def _score(self, query: int, key: int, received: Messages) -> Words:
        """The part of a row that is one token: its score as log Z, its value as S, for every head."""
        (_, left), (_, right) = sorted(received, key=lambda message: len(message[1]))
        heads = (self.num_heads, self.head_dim)
        q, k, v = (np.array(words).reshape(heads) for words in (left, right[: self._block], right[self._block :]))
        scores = (q * k).sum(1) if self.visible[query, key] else np.full(self.num_heads, -math.inf)
        return tuple(float(x) for score, value in zip(scores, v, strict=True) for x in (score, *value))


@dataclass(frozen=True)
class SoftmaxByMessages:
    """What the machines computed, what it cost, and how far it can be from dense attention in float64.

    `bound` (N, H) is an upper bound, per row and head, on the largest difference of a coordinate between `output` and dense
    softmax attention of the same queries, keys and values, both with all their rounding errors.
    """

    output: Float[Tensor, "positions heads head_dim"]
    bound: Float[Tensor, "positions heads"]
    transcript: Transcript
    layout: ConverseLayout


def softmax_by_messages(
    queries: Float[Tensor, "positions heads head_dim"],
    keys: Float[Tensor, "positions heads head_dim"],
    values: Float[Tensor, "positions heads head_dim"],
    words_per_machine: int,
    *,
    visible: Bool[Tensor, "positions positions"] | None = None,
) -> SoftmaxByMessages:
    r"""One layer of attention, executed as rounds of messages between machines of `words_per_machine` words.

    Args:
        queries, keys, values: float64, of one sequence, finite.
        words_per_machine: s; branching \(b = \lfloor s / (4 m H) \rfloor \ge 2\).
        visible: who sees whom; every row sees somebody. All see all unless given.

    Returns:
        The heads' outputs, their distance from dense attention at most, and the transcript: 2D + 3 rounds, counted.

    Raises:
        ValueError: s too small, arrays of other shapes, types or with numbers that are not finite, or rows that see nothing.

    Source: Sanford, Hsu and Telgarsky 2024, Theorem 3.4; the bound is derived here.
    """
    for name, array in (("queries", queries), ("keys", keys), ("values", values)):
        if array.shape != queries.shape or array.dtype != torch.float64 or not bool(array.isfinite().all()):
            raise ValueError(f"{name}: finite float64 of shape {tuple(queries.shape)} is legal")
    n, heads, dim = queries.shape
    seen = None if visible is None else visible.numpy()
    protocol = SoftmaxMessages(n, heads, dim, words_per_machine, seen)
    tokens = torch.stack([queries, keys, values], 1).reshape(-1)
    transcript = execute(protocol, tokens.tolist())
    output = torch.tensor(transcript.output, dtype=torch.float64).reshape(n, heads, dim)
    bound = _bound(queries.numpy(), keys.numpy(), values.numpy(), protocol.visible, protocol.layout)
    return SoftmaxByMessages(output, torch.from_numpy(bound), transcript, protocol.layout)


def _bound(
    queries: Float[np.ndarray, "positions heads head_dim"],
    keys: Float[np.ndarray, "positions heads head_dim"],
    values: Float[np.ndarray, "positions heads head_dim"],
    visible: Bool[np.ndarray, "positions positions"],
    layout: ConverseLayout,
) -> Float[np.ndarray, "positions heads"]:
    """How far tree and dense evaluation can be apart.

    Both know scores up to e = (m + 1) u sum |q k|, u = 2^-53, which changes weights by a factor within exp(+-2e). Writing R for
    the range of a row's scores, B for the largest of their sizes with log N, and counting 4u for one exp and for one log:
    dense weights err further by 2 (R + 4) u (differences, exp), N u (sum) and u (division), and the mean by (N + 1) u.

    In the tree, log Z of a part with n visible leaves lies between the least score and the largest plus log n, so two parts
    differ by R and the logarithm of the ratio of their visible leaves, at most R' = R + log N. Hence log Z errs by at most
    kappa = (R' + B + b + 4 + 4 log b) u more per level than its parts: R' for the differences, 4 for exp, b for the sum, 4 log b
    for its logarithm, B for the last addition. The same computed sum is below every weight of a merge and in its log Z, so a
    weight is exp of its part's computed log Z less the whole's, up to eta = (R' + b + 6) u for its own difference, exp and
    division, and up to kappa for the logarithm and the last addition. Along a leaf's path these cancel but for its score and
    the root's log Z, which is off by e + D kappa: a factor within exp(+-(2e + 2 D kappa + D eta)). Means err by (b + 1) u a
    level.
    """
    n, _, dim = queries.shape
    b, depth = layout.branching, layout.depth
    hidden = ~visible[:, None, :]
    scores = np.einsum("qhe,khe->qhk", queries, keys)
    sizes = np.einsum("qhe,khe->qhk", np.abs(queries), np.abs(keys))
    error = (dim + 1) * UNIT * np.where(hidden, 0.0, sizes).max(2)
    high, low = np.where(hidden, -np.inf, scores).max(2), np.where(hidden, np.inf, scores).min(2)
    spread = high - low + 2 * error
    size = np.where(hidden, 0.0, np.abs(scores)).max(2) + error + math.log(n)
    apart = spread + math.log(n)
    kappa = (apart + size + b + 4 + 4 * math.log(b)) * UNIT
    eta = (apart + b + 6) * UNIT
    tree = 2 * error + depth * (2 * kappa + eta + (b + 1) * UNIT)
    dense = 2 * error + (2 * (spread + 4) + 2 * n + 2) * UNIT
    largest = np.where(visible[:, None, :], np.abs(values).max(2).T[None], 0.0).max(2)
    # The few parts in 10^16 that the computation of this bound itself can be off are covered by 1 + 2^-20.
    return largest * ((np.expm1(tree) + np.expm1(dense)) * (1 + 2.0**-20) + n * 2.0**-1000)
