"""How many slots the routing head really needs, beside what the proof asks for.

Every machine sends s messages and receives s, to and from different machines, drawn at random; one attention head delivers them.
Packets share slots by a random matrix, and a delivery fails when some packet has no slot for itself. The proof's number of slots
serves every routing at once; a random routing needs far fewer.

Source: Sanford, Hsu and Telgarsky 2024, Lemma 3.2; the measurement is ours.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from constructions.mpc import Hashing, PolynomialKeys, RoutingHead, means
from theory.parallel import Messages, hashing_slots_bound, hashing_slots_for
from theory.shapes import checked_integer

if TYPE_CHECKING:
    import pandas as pd

SLOT_COLUMNS = (
    "num_machines", "messages", "slots", "exact", "trials", "proof_bound",
    "one_routing_bound", "wrong", "printed_wrong", "needed",
)  # fmt: skip
PAPER_SIZES = ((16, 1), (32, 1), (64, 1), (32, 2), (64, 2), (32, 3))
LARGEST_TEXT = 1000  # messages are integers below this


def random_routing(
    num_machines: int, messages: int, generator: np.random.Generator
) -> Int[np.ndarray, "num_machines messages"]:
    """Destinations of every machine's messages: distinct in a row, and every machine occurs `messages` times in all.

    Args:
        num_machines: N >= 2.
        messages: s >= 1, at most N / 2.
        generator: what is drawn from: one permutation after the other, each again until it meets none before it.

    Raises:
        ValueError: a size outside its range.
    """
    n, s = checked_integer("num_machines", num_machines, 2), checked_integer("messages", messages, 1)
    if s > n // 2:
        raise ValueError(f"messages = {s}: at most num_machines // 2 = {n // 2} are legal")
    columns: list[np.ndarray] = []
    while len(columns) < s:
        drawn = generator.permutation(n)
        if not any((drawn == column).any() for column in columns):
            columns.append(drawn)
    return np.stack(columns, 1)


def slots_needed(hashing: Hashing, destinations: Int[np.ndarray, "num_machines messages"]) -> int:
    """The least number of the matrix's first columns with which every packet has a slot for itself; 0 when all are too few.

    A packet has column c at its receiver when its source writes there (its mark alone among the source's) and no other source of
    that receiver writes in c. More columns never harm, so this is exact for nested matrices.
    """
    n = len(destinations)
    marks = hashing.matrix[np.arange(n)[:, None], destinations]  # (source, message, slot)
    writes = marks.sum(1) == 1
    writers = np.zeros((n, hashing.slots), dtype=np.int64)
    for source in range(n):
        writers[destinations[source]] += writes[source]
    alone = marks & writes[:, None] & (writers[destinations] == 1)
    return int(alone.argmax(2).max()) + 1 if alone.any(2).all() else 0


def routing_slots(
    sizes: Sequence[tuple[int, int]] = PAPER_SIZES,
    trials: int = 20,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> "pd.DataFrame":
    """Slots with which all of `trials` random routings are delivered exactly, and how many are with fewer.

    Every delivery is run through the project's attention, with exact polynomial keys so that only slots decide, and compared
    with what was sent. Rows are of kind "built": nothing here is trained.

    Args:
        sizes: pairs (N, s) of machines and messages per machine.
        trials: routings per pair, >= 1; each has its own matrix.
        seed: of routings, messages and matrices.
        progress: told (pairs done, pairs) after each pair.

    Returns:
        A table: num_machines, messages, slots, exact (deliveries that were complete), trials, proof_bound (12 b^2 ln N^2, b =
        s^2), one_routing_bound (enough for one given routing with chance 0.99, derived here), wrong (deliveries that were said
        to be complete and were not: a count that has to be 0), printed_wrong (the same for the paper's decoder, which says so
        always), needed (True in the one row per pair with the fewest slots that make all trials exact). Slots are the powers of
        two below that number, and the number.

    Raises:
        ValueError: a size outside its range (`random_routing`, polynomial keys), or trials below 1.
    """
    import pandas as pd

    trials = checked_integer("trials", trials, 1)
    rows: list[tuple[int | bool, ...]] = []
    for done, (n, s) in enumerate(sizes, 1):
        keys = PolynomialKeys(n, s)
        drawn = [_Trial(n, s, [checked_integer("seed", seed, 0), n, s, trial]) for trial in range(trials)]
        needed = max(trial.needed for trial in drawn)
        bounds = hashing_slots_bound(n, s), hashing_slots_for(n, s, 0.01)
        for slots in [*(1 << power for power in range(needed.bit_length()) if 1 << power < needed), needed]:
            outcomes = np.array([trial.deliver(keys, slots) for trial in drawn])
            exact, wrong, printed = (int(count) for count in outcomes.sum(0))
            rows.append((n, s, slots, exact, trials, *bounds, wrong, printed, slots == needed))
        if progress is not None:
            progress(done, len(sizes))
    return pd.DataFrame(rows, columns=list(SLOT_COLUMNS))


class _Trial:
    """One routing with its messages, and its matrix at any number of slots."""

    def __init__(self, num_machines: int, messages: int, entropy: list[int]) -> None:
        generator = np.random.default_rng(entropy)
        self.messages = messages
        self.destinations = random_routing(num_machines, messages, generator)
        texts = generator.integers(-LARGEST_TEXT, LARGEST_TEXT, self.destinations.shape)
        self.seed = int(generator.integers(1 << 62))
        self.sent: list[Messages] = [
            tuple((int(target), (int(text),)) for target, text in zip(*both, strict=True))
            for both in zip(self.destinations, texts, strict=True)
        ]
        arrived: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in self.sent]
        for source, outbox in enumerate(self.sent):
            for target, words in outbox:
                arrived[target].append((source, tuple(int(word) for word in words)))
        self.expected = [tuple(each) for each in arrived]
        slots, self.needed = hashing_slots_for(num_machines, messages, 0.1), 0
        while not self.needed:
            self.needed = slots_needed(self.hashing(slots), self.destinations)
            slots *= 2

    def hashing(self, slots: int) -> Hashing:
        """The matrix's first columns."""
        return Hashing(len(self.destinations), self.messages, 1, slots, self.seed)

    def deliver(self, keys: PolynomialKeys, slots: int) -> tuple[bool, bool, bool]:
        """Whether the delivery is complete, whether it is said to be and is not, and whether the paper's decoder errs."""
        hashing = self.hashing(slots)
        arrived = means(RoutingHead(keys, hashing), self.sent)
        decoded = [hashing.unpack(machine, mean) for machine, mean in enumerate(arrived)]
        printed = [hashing.unpack_as_printed(machine, mean) for machine, mean in enumerate(arrived)]
        said = not any(each.failed for each in decoded)
        right = all(each.failed or each.messages == true for each, true in zip(decoded, self.expected, strict=True))
        return said and right, not right, printed != self.expected
