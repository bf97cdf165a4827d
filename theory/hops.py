"""hop_k, k induction heads one after another: what it is, its tokens, and how many layers it takes.

From position i of a string go to the most recent earlier occurrence of the same symbol and step one to the right; do this k
times; the answer is the symbol that one stands on (Sanford, Hsu and Telgarsky 2024, Definition 4.1):

    find^1(i) = max({0} and all j <= i with X_{j-1} = X_i),   find^k = find^1 after find^(k-1),   hop_k(i) = X_{find^k(i)}.

Positions count from 1. Position 0 stands for "does not exist" and stays there; its symbol is MISSING. The definition has
j <= i (the paper's Lemma D.2 is stated for j < i, which is another function as soon as symbols repeat): a symbol right behind
its equal finds its own position, find^1(i) = i, for good. In other words find^1(i) = p + 1, p the last position before i with
X_p = X_i.

    import numpy as np
    from theory.hops import find, hop
    symbols = np.array([1, 0, 4, 1, 2, 0, 1, 4, 1, 3, 4, 0])  # b a e b c a b e b d e a
    find(symbols, 1)  # 0 0 0 2 0 3 5 4 8 0 9 7
    hop(symbols, 2)[-1]  # 2: a finds b, which finds c

Depths are those of three constructions that work, called recipes:

    "A": one head per layer, pointer doubling. ceil(log2 k) + 2 layers, k <= 2^(L-2).
    "B": two heads in layers 1 and 2, one after that; a hop by content reaches one position further, so that the depth is
         floor(log2 k) + 2, the one that Theorem 4.2 states (for one head): k <= 2^(L-1) - 1.
    "C": attention only, linear maps, two heads; depth as "A".
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int, Integer

from theory._hop_maps import MISSING, checked_hops, checked_symbols, find, find_by_definition, hop
from theory._hop_structure import chain_lengths, chance_error, exact_hops, hops_left, mean_look_back, most_hops, num_undefined
from theory.shapes import checked_integer

__all__ = [
    "MISSING",
    "NO_SYMBOL",
    "PAPER_TASK",
    "HopTask",
    "Recipe",
    "chain_lengths",
    "chance_error",
    "exact_hops",
    "find",
    "find_by_definition",
    "hop",
    "hops_left",
    "layers_needed",
    "layers_stated",
    "mean_look_back",
    "most_hops",
    "num_undefined",
    "reach",
]

Recipe = Literal["A", "B", "C"]

NO_SYMBOL = -2
"""What `HopTask.symbols_of` gives for a token that is neither a symbol nor the missing token."""


@dataclass(frozen=True)
class HopTask:
    """hop_k for a range of k as tokens in, tokens out: what built and trained models alike read and answer.

    A model reads N + 1 tokens, [hop token of k, x_1, .., x_N], and answers at every one of them: with the blank at position 0,
    at position i with the token of hop_k(i) or the missing token. Token ids, in this order: hops `min_hops`..`max_hops`, the
    `vocab_size` symbols, missing, blank. The format of the experiments of Sanford, Hsu and Telgarsky 2024 (Appendix G.1), whose
    sizes are PAPER_TASK.

    Attributes:
        vocab_size: |Sigma| >= 1, the number of symbols.
        seq_len: N >= 1, the symbols of a string.
        min_hops: least k, >= 0.
        max_hops: largest k, >= min_hops.

    Raises ValueError for other sizes.
    """

    vocab_size: int
    seq_len: int
    min_hops: int
    max_hops: int

    def __post_init__(self) -> None:
        for name, least in (("vocab_size", 1), ("seq_len", 1), ("min_hops", 0), ("max_hops", 0)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))
        if self.max_hops < self.min_hops:
            raise ValueError(f"max_hops = {self.max_hops}: must be at least min_hops = {self.min_hops}")

    @property
    def num_tokens(self) -> int:
        """Token ids in use: |Sigma| symbols, a token for every k, the missing token and the blank."""
        return self.symbol_tokens + self.vocab_size + 2

    @property
    def symbol_tokens(self) -> int:
        """Id of symbol 0; symbol s has the id symbol_tokens + s."""
        return self.max_hops - self.min_hops + 1

    @property
    def missing_token(self) -> int:
        """Id of the answer where find^k is 0."""
        return self.symbol_tokens + self.vocab_size

    @property
    def blank_token(self) -> int:
        """Id of the answer at position 0."""
        return self.missing_token + 1

    def hop_token(self, num_hops: int) -> int:
        """Id of the first token, which says what k is; ValueError for k outside min_hops..max_hops."""
        return int(self._checked_hops(num_hops, ()).item()) - self.min_hops

    def tokens(
        self, symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
    ) -> Int[np.ndarray, "*batch positions"]:
        """What a model reads, int64 of shape (*batch, N + 1), for strings of N symbols and one k, or one k per string.

        Raises ValueError for strings of another length, symbols outside 0..vocab_size - 1 and k outside min_hops..max_hops.
        """
        strings = self._checked_symbols(symbols)
        read = np.empty((*strings.shape[:-1], self.seq_len + 1), dtype=np.int64)
        read[..., 0] = self._checked_hops(num_hops, strings.shape[:-1]) - self.min_hops
        read[..., 1:] = strings
        read[..., 1:] += self.symbol_tokens
        return read

    def targets(
        self, symbols: Integer[np.ndarray, "*batch seq_len"], num_hops: int | Integer[np.ndarray, "*batch"]
    ) -> Int[np.ndarray, "*batch positions"]:
        """What a model is to answer, int64 of shape (*batch, N + 1). Arguments and errors are those of `tokens`."""
        strings = self._checked_symbols(symbols)
        answers = hop(strings, self._checked_hops(num_hops, strings.shape[:-1]))
        wanted = np.empty((*strings.shape[:-1], self.seq_len + 1), dtype=np.int64)
        wanted[..., 0] = self.blank_token
        wanted[..., 1:] = np.where(answers == MISSING, self.missing_token, answers + self.symbol_tokens)
        return wanted

    def symbols_of(self, tokens: Integer[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
        """Tokens (of any shape, also ids that the task has no use for) as symbols: MISSING for the missing token and
        NO_SYMBOL for any other that is no symbol."""
        found = np.asarray(tokens).astype(np.int64, copy=False)
        symbols = found - self.symbol_tokens
        is_symbol = (symbols >= 0) & (symbols < self.vocab_size)
        return np.where(is_symbol, symbols, np.where(found == self.missing_token, MISSING, NO_SYMBOL))

    def _checked_symbols(self, symbols: object) -> Integer[np.ndarray, "*batch seq_len"]:
        strings = checked_symbols(symbols, self.vocab_size)
        if strings.shape[-1] != self.seq_len:
            raise ValueError(f"symbols has shape {strings.shape}: must be (.., seq_len) with seq_len = {self.seq_len}")
        return strings

    def _checked_hops(self, num_hops: object, batch: tuple[int, ...]) -> Integer[np.ndarray, "*batch"]:
        return checked_hops(num_hops, batch, self.min_hops, self.max_hops)


PAPER_TASK = HopTask(4, 98, 0, 16)
"""The experiments of Sanford, Hsu and Telgarsky 2024. "N = 100" there counts two letters that are drawn and then dropped."""


def layers_needed(num_hops: int, recipe: Recipe) -> int:
    """L, the depth at which a recipe computes hop_k: ceil(log2 k) + 2 for "A" and "C", floor(log2 k) + 2 for "B".

    hop_0 comes free in models that read k, and has their least depth here, 2. The formula of "A" and "C" is derived here (the
    proof of Theorem 4.2 of Sanford, Hsu and Telgarsky 2024, repaired); that of "B" is the theorem's.

    Raises ValueError for num_hops < 0 or another recipe.
    """
    num_hops = checked_integer("num_hops", num_hops, 0)
    if _checked_recipe(recipe) == "B":
        return max(num_hops.bit_length(), 1) + 1
    return max(num_hops - 1, 0).bit_length() + 2


def reach(num_layers: int, recipe: Recipe) -> int:
    """The largest k that a recipe computes in L layers: 2^(L-2) for "A" and "C", 2^(L-1) - 1 for "B".

    Raises ValueError for num_layers < 2, the least of every recipe, or another recipe.
    """
    num_layers = checked_integer("num_layers", num_layers, 2)
    return 2 ** (num_layers - 1) - 1 if _checked_recipe(recipe) == "B" else 2 ** (num_layers - 2)


def layers_stated(num_hops: int) -> int:
    """floor(log2 k) + 2, k >= 1: the depth in Theorem 4.2 of Sanford, Hsu and Telgarsky 2024; ValueError for k < 1."""
    return checked_integer("num_hops", num_hops, 1).bit_length() + 1


def _checked_recipe(recipe: object) -> Recipe:
    if recipe not in get_args(Recipe):
        raise ValueError(f"recipe = {recipe!r}: must be one of {', '.join(get_args(Recipe))}")
    return recipe  # type: ignore[return-value]  # just checked
