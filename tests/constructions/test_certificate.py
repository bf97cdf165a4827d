"""Certificates against an independent evaluation with thousands of bits, and against real forward passes."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions import AttentionOnlyTransformer, _certificate_float, memorize
from constructions.aot import PARAMETER_NAMES
from constructions.attention import token_attention
from constructions.certificate import Statement, certify, certify_rank, recheck
from constructions.construction import DTYPES
from theory.strategies import association_tasks, attention_shapes
from theory.tasks import AssociationTask

BITS = 3000
SCALES = (1.0, 1.0, 1.0, 30.0, 1e-3, 1e4, 1e150, 1e-160, 1e-310)
GAPS = (0.0, 1e-2, 1e-9, 1e-13, -1e-13, 1e-14, 1e-15, 1e-16, -1e-16, 1e-18, 1e-300)


def numbers(rows: list) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def true_logits(model: AttentionOnlyTransformer, sequence: list[int]) -> list[mpmath.mpf]:
    """Straight from the equations, one head, position and coordinate after the other, in mpmath."""
    parts = {name: getattr(model, name).detach().double().numpy().tolist() for name in PARAMETER_NAMES}
    with mpmath.workprec(BITS):
        def times(row: list[mpmath.mpf], matrix: list[list[float]]) -> list[mpmath.mpf]:
            return [mpmath.fdot(row, [mpmath.mpf(number) for number in column]) for column in zip(*matrix, strict=True)]

        rows = [
            [mpmath.mpf(a) + mpmath.mpf(b) for a, b in zip(parts["token_embedding"][token], position, strict=True)]
            for token, position in zip(sequence, parts["position_embedding"], strict=True)
        ]
        stream = list(rows[-1])
        for query, key, value, output in zip(parts["query"], parts["key"], parts["value"], parts["output"], strict=True):
            asked = times(rows[-1], query)
            scores = [mpmath.fdot(asked, times(row, key)) for row in rows]
            powers = [mpmath.exp(score - max(scores)) for score in scores]
            for power, row in zip(powers, rows, strict=True):
                added = times(times(row, value), output)
                stream = [s + power / mpmath.fsum(powers) * a for s, a in zip(stream, added, strict=True)]
        return [mpmath.fdot(stream, [mpmath.mpf(u) for u in line]) for line in parts["unembedding"]]


def true_margin(model: AttentionOnlyTransformer, sequence: list[int], label: int) -> mpmath.mpf:
    logits = true_logits(model, sequence)
    with mpmath.workprec(BITS):
        return min(logits[label] - logit for token, logit in enumerate(logits) if token != label)


def random_model(
    task: AssociationTask, shape: tuple[int, int, int], seed: int, scales: dict[str, float]
) -> AttentionOnlyTransformer:
    generator = torch.Generator().manual_seed(seed)
    model = AttentionOnlyTransformer(task.vocab_size, task.seq_len, *shape)
    with torch.no_grad():
        for name in PARAMETER_NAMES:
            weight = getattr(model, name)
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64) * scales.get(name, 1.0))
    return model


def tied(model: AttentionOnlyTransformer, task: AssociationTask, gap: float) -> AttentionOnlyTransformer:
    """One token's unembedding row moved to where it all but ties with the first association's label."""
    label, other = int(task.targets[0]), (int(task.targets[0]) + 1) % task.vocab_size
    logits = true_logits(model, task.sequences[0].tolist())
    with torch.no_grad(), mpmath.workprec(BITS):
        rows = model.unembedding
        best = max(range(task.vocab_size), key=lambda token: logits[token])
        if best != label:
            rows[[best, label]] = rows[[label, best]].clone()
        if gap == 0.0:
            rows[other] = rows[label]
            return model
        # logit = u . z: an extra coordinate's worth of change, found by scaling the other row
        logits = true_logits(model, task.sequences[0].tolist())
        size = max(abs(logit) for logit in logits)
        if size > 0 and logits[other] != 0:
            factor = float((logits[label] - gap * size) / logits[other])
            rows[other] *= factor if np.isfinite(factor) and abs(factor) < 1e100 else 1.0
    return model


def check_exact(statement: Statement, model: AttentionOnlyTransformer, task: AssociationTask) -> None:
    for row, (sequence, label) in enumerate(zip(task.sequences.tolist(), task.targets.tolist(), strict=True)):
        margin = true_margin(model, sequence, label)
        verdict, lower, upper = (int(statement.verdicts[row]), float(statement.lower[row]), float(statement.upper[row]))
        with mpmath.workprec(BITS):
            slack = mpmath.mpf(2) ** -(BITS - 200) * (1 + abs(margin)) + mpmath.mpf(2) ** -2500
            assert lower <= margin + slack and margin - slack <= upper, (row, verdict, lower, margin, upper)
            if verdict == 1:
                assert margin > 0
            if verdict == -1:
                assert margin <= slack


scale_choices = st.fixed_dictionaries({}, optional={name: st.sampled_from(SCALES) for name in PARAMETER_NAMES})
small_tasks = association_tasks(vocab_size=(2, 4), seq_len=(1, 3), num_associations=(1, 6))
small_shapes = attention_shapes(embed_dim=(1, 3), num_heads=(0, 3), wide_heads=True)


@given(small_tasks, small_shapes, st.integers(0, 2**16), scale_choices, st.one_of(st.none(), st.sampled_from(GAPS)))
def test_what_is_certified_is_true(task, shape, seed, scales, gap) -> None:
    """Random and adversarial models: near ties, exact ties, huge and subnormal numbers, no heads, one position, wide heads."""
    model = random_model(task, (shape.embed_dim, shape.num_heads, shape.head_dim), seed, scales)
    if gap is not None:
        model = tied(model, task, gap)
    found = certify(model, task, dtypes=("float64",), max_precision=512)
    check_exact(found.statements["exact"], model, task)
    assert recheck(found, model, task).agreed


@given(small_tasks, small_shapes, st.integers(0, 2**16))
def test_ordinary_models_are_decided(task, shape, seed) -> None:
    """Power, not only truth: of ordinary random models nothing stays open, and float64 decides nearly all."""
    model = random_model(task, (shape.embed_dim, shape.num_heads, shape.head_dim), seed, {})
    exact = certify(model, task, dtypes=()).statements["exact"]
    assert exact.num_undecided == 0
    assert (exact.precision == 53).mean() >= 0.5
    assert np.all(exact.upper - exact.lower < 1e-6 * (1 + np.abs(exact.lower)))


@pytest.mark.parametrize("gap", [1e-9, 1e-13, 1e-14, 1e-16, 1e-18, 1e-25, 1e-40])
def test_near_ties_are_decided_on_the_right_side(gap: float) -> None:
    """d = 2: logits of two tokens differ by a small multiple of one stream coordinate, down to margins far below 1e-14."""
    task = AssociationTask([[0, 1], [1, 0]], [0, 1], 3)
    model = random_model(task, (2, 2, 2), 5, {})
    with torch.no_grad():
        model.unembedding.copy_(numbers([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]))
        model.unembedding[1, 1] = gap
    found = certify(model, task, dtypes=("float64",)).statements["exact"]
    logits = [true_logits(model, sequence) for sequence in task.sequences.tolist()]
    for row, label in enumerate((0, 1)):
        truth = 1 if logits[row][label] > max(logits[row][:label] + logits[row][label + 1 :]) else -1
        assert found.verdicts[row] == truth
    check_exact(found, model, task)


def test_ties_are_wrong() -> None:
    task = AssociationTask([[0, 1], [1, 1], [1, 0]], [0, 1, 1], 3)
    model = random_model(task, (2, 3, 2), 0, {})
    with torch.no_grad():
        model.unembedding[1] = model.unembedding[0]
    exact = certify(model, task, dtypes=()).statements["exact"]
    assert exact.num_wrong == 3 and (exact.precision == 53).all() and (exact.upper <= 0).all()
    zero = AttentionOnlyTransformer(3, 2, 2, 3, 2)
    exact = certify(zero, task).statements["exact"]
    assert exact.num_wrong == 3
    # Minus zero is zero.
    with torch.no_grad():
        zero.unembedding[1] = -0.0
    assert certify(zero, task).statements["exact"].num_wrong == 3


def test_a_tie_that_no_precision_can_settle_is_undecided() -> None:
    """Two heads that cancel in truth, their scores the same product from other factors: no ball can tell that from a near tie."""
    task = AssociationTask([[0, 1]], [0], 2)
    model = AttentionOnlyTransformer(2, 2, 2, 2, 1)
    with torch.no_grad():
        model.token_embedding.copy_(numbers([[0.3, 0.7], [1.0, 0.0]]))
        model.query.copy_(numbers([[[0.37], [0.0]], [[0.74], [0.0]]]))
        model.key.copy_(numbers([[[1.22], [0.0]], [[0.61], [0.0]]]))
        model.value.copy_(numbers([[[0.0], [1.0]], [[0.0], [1.0]]]))
        model.output.copy_(numbers([[[0.0, 1.0]], [[0.0, -1.0]]]))
        model.unembedding.copy_(numbers([[0.0, 1.0], [0.0, 0.5]]))
    for bits in (53, 64, 256):
        found = certify(model, task, max_precision=bits)
        assert [statement.num_undecided for statement in found.statements.values()] == [1, 1, 1]
        assert found.statements["exact"].precision.tolist() == [bits]
        assert found.statements["exact"].lower[0] <= 0 <= found.statements["exact"].upper[0] < 1e-12
        assert recheck(found, model, task).agreed


def test_the_cap_is_kept() -> None:
    """A coordinate of 2^-300 decides: more than 300 bits are needed, and with fewer nothing is claimed."""
    task = AssociationTask([[0, 1], [1, 0]], [0, 1], 2)
    model = AttentionOnlyTransformer(2, 2, 2, 2, 1)
    with torch.no_grad():
        model.token_embedding.copy_(numbers([[0.3, 0.7], [1.0, 0.7]]))
        model.query.copy_(numbers([[[0.37], [0.0]], [[0.74], [0.0]]]))
        model.key.copy_(numbers([[[1.22], [0.0]], [[0.61], [0.0]]]))
        model.value.copy_(numbers([[[1.0], [0.0]], [[1.0], [0.0]]]))
        model.output.copy_(numbers([[[0.0, 1.0]], [[0.0, -1.0]]]))
        model.unembedding.copy_(numbers([[2.0**-300, 1.0], [0.0, 1.0]]))
        model.unembedding[0, 1] = 1.0
    # Rows are subtracted before the stream comes in: float64 sees the difference of the first coordinates.
    assert certify(model, task, dtypes=(), max_precision=53).statements["exact"].verdicts.tolist() == [1, -1]
    with torch.no_grad():
        model.unembedding.copy_(numbers([[2.0**-300, 1.0], [0.0, 0.5]]))
        model.token_embedding[:, 1] = 0.0
    low, high = (certify(model, task, dtypes=(), max_precision=bits).statements["exact"] for bits in (200, 400))
    assert low.verdicts.tolist() == [0, 0] and low.precision.tolist() == [200, 200]
    assert high.verdicts.tolist() == [1, -1] and high.precision.tolist() == [400, 400]
    check_exact(high, model, task)


@pytest.mark.parametrize(("tables", "blocks"), [(1, 1), (64, 7), (300, 1 << 15)])
@pytest.mark.parametrize("count", [9, 25])
def test_any_cut_into_chunks_is_sound(monkeypatch, tables: int, blocks: int, count: int) -> None:
    """Heads and samples in small pieces, scores from tables or pair by pair: other sums, bounds that hold all the same."""
    monkeypatch.setattr(_certificate_float, "TABLE_ELEMENTS", tables)
    monkeypatch.setattr(_certificate_float, "BLOCK_ELEMENTS", blocks)
    task = AssociationTask.random(8, 2, count, 1)
    model = random_model(task, (3, 5, 2), 2, {})
    found = certify(model, task, dtypes=("float32",))
    monkeypatch.undo()
    whole = certify(model, task, dtypes=("float32",))
    for name, statement in found.statements.items():
        other = whole.statements[name]
        assert (statement.verdicts == other.verdicts).all()
        assert (statement.lower <= other.upper).all() and (other.lower <= statement.upper).all()
        assert np.allclose(statement.upper - statement.lower, other.upper - other.lower, rtol=0.2)
    some = task.subset(range(5))
    check_exact(certify(model, some).statements["exact"], model, some)
    assert recheck(found, model, task).agreed


def test_weights_that_are_no_numbers_are_named() -> None:
    task = AssociationTask([[0, 1]], [0], 2)
    for name in PARAMETER_NAMES:
        for bad in (torch.nan, torch.inf):
            model = random_model(task, (2, 2, 2), 0, {})
            with torch.no_grad():
                getattr(model, name).view(-1)[1] = bad
            for action in (lambda m=model: certify(m, task), lambda m=model: certify_rank(m, task)):
                with pytest.raises(ValueError, match=f"infinite weight in {name}"):
                    action()


@pytest.mark.bad_input
def test_bad_arguments() -> None:
    task = AssociationTask([[0, 1], [1, 1]], [0, 1], 2)
    model = random_model(task, (2, 1, 2), 0, {})
    for words, arguments in {
        "max_precision": {"max_precision": 10}, "integer": {"max_precision": 64.5}, "65536": {"max_precision": 10**9},
        "float8": {"dtypes": ("float8",)}, "twice": {"dtypes": ("float32", "float32")}, "none twice": {"indices": [0, 0]},
        "from 0 to 1": {"indices": [2]}, "ascending": {"indices": [1, 0]}, "at least one": {"indices": []},
        "whole number": {"indices": [0.5]},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            certify(model, task, **arguments)
    with pytest.raises(ValueError, match="sequences of 1 tokens"):
        certify(model, AssociationTask([[0]], [1], 2))
    with pytest.raises(ValueError, match="vocabulary of 3"):
        certify(model, AssociationTask([[0, 1]], [1], 3))


def test_some_associations_only() -> None:
    task = AssociationTask.complete(4, 2, 0)
    model = random_model(task, (2, 3, 2), 0, {})
    whole, some = certify(model, task), certify(model, task, indices=np.array([3, 7, 8]))
    assert some.indices.tolist() == [3, 7, 8]
    for name, statement in whole.statements.items():
        assert some.statements[name].verdicts.tolist() == statement.verdicts[[3, 7, 8]].tolist()
    assert recheck(some, model, task).agreed and recheck(some, model, task).num_checked == 3


# Forward passes -----------------------------------------------------------------------------------------------------------------


def forward_logits(model: AttentionOnlyTransformer, task: AssociationTask, seed: int) -> list[torch.Tensor]:
    """The ordinary forward pass, and the same mathematics in other orders: heads permuted, other chunks, samples one by one."""
    tokens = torch.tensor(task.sequences)
    found = []
    with torch.no_grad():
        found.append(model(tokens))
        order = torch.randperm(model.num_heads, generator=torch.Generator().manual_seed(seed))
        rows = model.token_embedding + model.position_embedding[:, None, :]
        parts = [getattr(model, name)[order] for name in ("query", "key", "value", "output")]
        for chunk in (1, 7, 1 << 20):
            stream = rows[-1][tokens[:, -1]]
            if model.num_heads:
                stream = stream + token_attention(rows, tokens, *parts, chunk_elements=chunk)
            found.append(stream @ model.unembedding.T)
        found.append(torch.cat([model(tokens[row : row + 1]) for row in range(len(tokens))]))
    return found


@settings(max_examples=max(1, settings().max_examples * 2 // 5))
@given(
    association_tasks(vocab_size=(2, 6), seq_len=(1, 3), num_associations=(1, 20)),
    attention_shapes(embed_dim=(1, 4), num_heads=(0, 6), wide_heads=True),
    st.integers(0, 2**16),
    st.fixed_dictionaries({}, optional={name: st.sampled_from((0.1, 3.0, 30.0)) for name in PARAMETER_NAMES}),
    st.one_of(st.none(), st.sampled_from((1e-2, 1e-4, 1e-7, 1e-10, 1e-14))),
)  # fmt: skip
def test_real_forward_passes_stay_within_the_bounds(task, shape, seed, scales, gap) -> None:
    """In every format, any order: computed margins are within the certified ones, and what is certified right is right."""
    model = random_model(task, (shape.embed_dim, shape.num_heads, shape.head_dim), seed, scales)
    if gap is not None:
        model = tied(model, task, gap)
    found = certify(model, task, dtypes=tuple(DTYPES), max_precision=128)
    targets = torch.tensor(task.targets)[:, None]
    for name, dtype in DTYPES.items():
        statement = found.statements[name]
        for logits in forward_logits(model.to_dtype(dtype), task, seed):
            # Differences of logits in extended precision: exact enough, as the bounds have room for one more rounding.
            long = np.array(logits.double().numpy(), dtype=np.longdouble)
            own = np.take_along_axis(long, targets.numpy(), 1)
            others = long.copy()
            np.put_along_axis(others, targets.numpy(), -np.inf, 1)
            with np.errstate(invalid="ignore"):  # a format that overflows: its margins are NaN, and nothing may be known of them
                margins = (own - others.max(axis=1, keepdims=True))[:, 0]
            known = np.isfinite(statement.lower)
            assert (statement.lower[known] <= margins[known]).all(), name
            assert (margins[known] <= statement.upper[known]).all(), name
            assert (margins[statement.verdicts == 1] > 0).all(), name
            assert (margins[statement.verdicts == -1] <= 0).all(), name


def test_forward_statements_say_something() -> None:
    """A staircase is certified right in float32 and float64; of a small ordinary model half precision is, too."""
    task = AssociationTask.complete(10, 2, 0)
    found = certify(memorize(task, embed_dim=2, head_dim=2).model, task)
    assert [found.statements[name].num_right for name in ("exact", "float64", "float32")] == [100] * 3
    easy = AssociationTask([[0, 0], [1, 1]], [0, 1], 2)
    model = AttentionOnlyTransformer(2, 2, 2, 1, 1)
    with torch.no_grad():
        model.token_embedding.copy_(torch.eye(2))
        model.unembedding.copy_(torch.eye(2))
        model.value.fill_(0.01)
        model.output.fill_(0.01)
    found = certify(model, easy, dtypes=("bfloat16", "float16"))
    assert [statement.num_right for statement in found.statements.values()] == [2] * 3


def test_exactly_right_but_not_in_float32() -> None:
    """Two rows that differ by 1e-12: real arithmetic tells them apart, float64 too, float32 rounds them to one."""
    task = AssociationTask([[0], [1]], [0, 1], 2)
    model = AttentionOnlyTransformer(2, 1, 2, 0, 1)
    with torch.no_grad():
        model.token_embedding.copy_(numbers([[1.0, 1.0], [1.0, -1.0]]))
        model.unembedding.copy_(numbers([[1.0, 1e-12], [1.0, -1e-12]]))
        model.unembedding[:, 0] += numbers([1e-12, 0.0])
        model.token_embedding[1, 1] = -3.0
    found = certify(model, task)
    assert found.statements["exact"].num_right == 2 and found.statements["float64"].num_right == 2
    assert found.statements["float32"].num_right < 2
    # And one that float64 can not be promised to get right either, though it is right.
    with torch.no_grad():
        model.unembedding.copy_(numbers([[1.0, 1e-17], [1.0, -1e-17]]))
    found = certify(model, task)
    assert found.statements["exact"].num_right == 2 and found.statements["float64"].num_right < 2


def test_weights_that_overflow_a_format_are_no_proof() -> None:
    task = AssociationTask([[0, 1], [1, 0]], [0, 1], 2)
    model = random_model(task, (2, 2, 2), 0, {"output": 1e300})
    found = certify(model, task)
    assert found.statements["float32"].num_undecided == 2 and "overflow" in found.statements["float32"].note
    assert found.statements["exact"].num_undecided == 0
    # Weights within range, products out of it: float32 computes infinities, and nothing is claimed.
    model = random_model(task, (2, 2, 2), 0, {"output": 1e30, "unembedding": 1e30})
    found = certify(model, task)
    assert found.statements["float32"].num_undecided == 2 and found.statements["exact"].num_undecided == 0
    assert recheck(found, model, task).agreed


def test_narrow_models_share_the_exact_numbers() -> None:
    """A float32 model: its exact statement is about the float32 weights, which float64 holds as they are."""
    task = AssociationTask.complete(3, 2, 0)
    model = random_model(task, (2, 3, 2), 1, {})
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        narrow = model.to_dtype(dtype)
        found, wide = certify(narrow, task), certify(narrow.to_dtype(torch.float64), task)
        assert found.dtype == str(dtype).removeprefix("torch.")
        for name, statement in found.statements.items():
            assert np.array_equal(statement.lower, wide.statements[name].lower)
        check_exact(found.statements["exact"], narrow, task)
        assert recheck(found, narrow, task).agreed
