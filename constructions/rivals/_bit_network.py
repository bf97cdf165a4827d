"""The bit-extraction network itself: one layer per block of points to find two long integers, tent maps to unpack them."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from constructions.rivals._exact_network import Affine, ExactNetwork, NetworkWriter


@dataclass(frozen=True)
class NetworkPlan:
    """The sizes of the network, from the sizes of the task alone.

    Attributes:
        num_points: N_s.
        num_inputs: coordinates of a point.
        block_size: points whose ids share one long integer: ceil(sqrt(N_s / log2 N_s)).
        id_bits: bits reserved for an id.
        label_bits: bits reserved for a label.
    """

    num_points: int
    num_inputs: int
    block_size: int
    id_bits: int
    label_bits: int

    @property
    def num_blocks(self) -> int:
        """Blocks of points, about sqrt(N_s log2 N_s)."""
        return -(-self.num_points // self.block_size)

    @property
    def widths(self) -> list[int]:
        """Inputs, neurons of every hidden layer, outputs."""
        locate = [3] + [5] * (self.num_blocks - 1)
        unpack: list[int] = []
        for place in range(self.block_size):
            for step in range(max(self.id_bits, self.label_bits)):
                tents = 2 * sum(2 if step < bits else 1 for bits in (self.id_bits, self.label_bits))
                unpack.append(1 + tents + (2 if step else 0) + (place > 0))
            held = 0 if place == self.block_size - 1 else 5  # the point's id and the four tents, while there are points to come
            unpack += [3 + held + (place > 0), 1 + held + (place > 0)]
        return [self.num_inputs, 1, *locate, *unpack, 1]

    @property
    def num_parameters(self) -> int:
        """Entries of all weight matrices and biases, zeros included."""
        widths = self.widths
        return sum((before + 1) * after for before, after in pairwise(widths))

    @property
    def depth(self) -> int:
        """Layers with weights."""
        return len(self.widths) - 1


def _packed(words: list[int], bits: int, places: int) -> int:
    """The words one after the other, the first in the highest bits, zeros behind."""
    packed = 0
    for word in words + [0] * (places - len(words)):
        packed = (packed << bits) | word
    return packed


def write_network(
    sizes: NetworkPlan, factors: list[int], radius: int, ids: list[int], labels: list[int], num_labels: int
) -> ExactNetwork:
    """The whole network, layer by layer.

    Args:
        sizes: as planned.
        factors: of the projection, one per coordinate; the id is their sum with the coordinates, plus radius * sum(factors).
        radius: bound on the coordinates, so that ids are not negative.
        ids: of the points, ascending, all different.
        labels: of the points in that order.
        num_labels: C.
    """
    writer, block = NetworkWriter(sizes.num_inputs), sizes.block_size
    nothing = Affine({})
    projection = nothing + radius * sum(factors)
    for factor, coordinate in zip(factors, writer.inputs, strict=True):
        projection = projection + coordinate * factor
    point = writer.layer({"id": projection})["id"]

    packed_ids, packed_labels, before = nothing, nothing, (0, 0)
    for start in range(0, len(ids), block):
        these = slice(start, start + block)
        here = (_packed(ids[these], sizes.id_bits, block), _packed(labels[these], sizes.label_bits, block))
        steps = {"above": point - (ids[start] - 1), "at": point - ids[start]}
        now = writer.layer({"id": point, **steps, "ids": packed_ids, "labels": packed_labels})
        point, reached = now["id"], now["above"] - now["at"]  # 1 from this block's first id on, else 0: ids are integers
        packed_ids = now["ids"] + reached * (here[0] - before[0])
        packed_labels = now["labels"] + reached * (here[1] - before[1])
        before = here
    return writer.finish([_unpack(writer, sizes, point, packed_ids, packed_labels, num_labels)])


def _unpack(
    writer: NetworkWriter, sizes: NetworkPlan, point: Affine, packed_ids: Affine, packed_labels: Affine, num_labels: int
) -> Affine:
    bits = (sizes.id_bits, sizes.label_bits)
    tops = tuple(4 << (length * sizes.block_size) for length in bits)
    # Two copies inside the same cell of 4: tent maps stay linear between them for as many steps as there are bits.
    tents = [(packed * 4 + 1, packed * 4 + 2) for packed in (packed_ids, packed_labels)]
    answer, taken = Affine({}), [0, 0]
    for place in range(sizes.block_size):
        words = [Affine({}), Affine({})]
        for step in range(max(bits)):
            fed = {"id": point, "answer": answer, "word0": words[0], "word1": words[1]}
            for stream, pair in enumerate(tents):
                for copy, value in enumerate(pair):
                    fed[f"up{stream}{copy}"] = value * 2 if step < bits[stream] else value
                    if step < bits[stream]:
                        fed[f"down{stream}{copy}"] = value * 4 - 2 * tops[stream]
            now = writer.layer(fed)
            point, answer, words = now["id"], now["answer"], [now["word0"], now["word1"]]
            for stream in range(2):
                if step < bits[stream]:
                    first, second = (now[f"up{stream}{copy}"] - now[f"down{stream}{copy}"] for copy in range(2))
                    taken[stream] += 1
                    slope = 1 << taken[stream]
                    bit = (first - second + slope) * Fraction(1, 2 * slope)
                    words[stream] = words[stream] + bit * (1 << (bits[stream] - 1 - step))
                    tents[stream] = (first, second)
                else:
                    tents[stream] = (now[f"up{stream}0"], now[f"up{stream}1"])
        more_to_come = place < sizes.block_size - 1
        held = {"id": point, **{f"z{s}{c}": tents[s][c] for s in range(2) for c in range(2)}} if more_to_come else {}
        now = writer.layer({"over": point - words[0], "under": words[0] - point, "label": words[1], "answer": answer, **held})
        gate = now["label"] - (now["over"] + now["under"]) * num_labels
        now = writer.layer({"gate": gate, "answer": now["answer"], **{name: now[name] for name in held}})
        answer = now["answer"] + now["gate"]
        if more_to_come:
            point, tents = now["id"], [(now[f"z{s}0"], now[f"z{s}1"]) for s in range(2)]
    return answer
