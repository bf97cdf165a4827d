"""The public strategies draw what they say, cover the awkward families, and shrink to something readable."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from theory import AssociationTask
from theory.strategies import DEFAULT_LARGEST, FAMILIES, LABELS, association_tasks, attention_shapes

# The first hit will do: shrinking it would only take time.
first_found = settings(max_examples=2000, database=None, phases=[Phase.generate], deadline=None)
few_examples = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def ranges(draw: st.DrawFn, least: int, largest: int) -> tuple[int, int]:
    low = draw(st.integers(least, largest))
    return low, draw(st.integers(low, largest))


@few_examples
@given(data=st.data(), tokens=ranges(2, 12), lengths=ranges(1, 4), complete=st.sampled_from([None, False]))
def test_tasks_keep_to_the_sizes_asked_for(
    data: st.DataObject, tokens: tuple[int, int], lengths: tuple[int, int], complete: bool | None
) -> None:
    most = min(100, tokens[1] ** lengths[1] - (complete is False))
    counts = data.draw(ranges(1, most))
    strategy = association_tasks(vocab_size=tokens, seq_len=lengths, num_associations=counts, complete=complete)
    task = data.draw(strategy)
    assert tokens[0] <= task.vocab_size <= tokens[1]
    assert lengths[0] <= task.seq_len <= lengths[1]
    assert counts[0] <= task.num_associations <= counts[1]
    if complete is False:
        assert task.num_associations < task.vocab_size**task.seq_len


@few_examples
@given(association_tasks(complete=True))
def test_complete_tasks_are_complete_and_small(task: AssociationTask) -> None:
    assert task.num_associations == task.vocab_size**task.seq_len <= DEFAULT_LARGEST


@few_examples
@given(association_tasks(vocab_size=10, seq_len=2, complete=True))
def test_fixed_sizes_win_over_the_default_cap(task: AssociationTask) -> None:
    assert task.num_associations == 100


AWKWARD: dict[str, Callable[[AssociationTask], bool]] = {
    "one label": lambda task: len(set(task.targets.tolist())) == 1 and task.num_associations > 2,
    "one last token": lambda task: task.num_last_tokens == 1 and task.num_associations > 2,
    "two last tokens": lambda task: task.num_last_tokens == 2 and task.num_associations > 4,
    "constant": lambda task: task.seq_len > 1 and all(len(set(row)) == 1 for row in task.sequences.tolist()),
    "complete": lambda task: task.num_associations == task.vocab_size**task.seq_len > 4,
    "matching": lambda task: (
        task.seq_len > 1
        and task.num_associations > 2
        and all(len(set(column)) == task.num_associations for column in task.sequences.T.tolist())
    ),
    "product": lambda task: "product" in task.description and task.num_associations >= 4,
}


@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_tasks_are_found(kind: str) -> None:
    assert AWKWARD[kind](find(association_tasks(), AWKWARD[kind], settings=first_found))


def test_every_family_and_label_pattern_is_drawn() -> None:
    families, patterns = set(), set()

    @settings(max_examples=200, database=None, deadline=None, derandomize=True)
    @given(association_tasks())
    def collect(task: AssociationTask) -> None:
        family, pattern, _ = task.description.split(", ")
        families.add(family)
        patterns.add(pattern.removeprefix("labels "))

    collect()
    assert families == set(FAMILIES)
    assert patterns == set(LABELS)


@few_examples
@given(labels=st.sampled_from(LABELS), data=st.data())
def test_label_patterns_are_what_they_say(labels: str, data: st.DataObject) -> None:
    task = data.draw(association_tasks(labels=labels))
    targets, last = task.targets.tolist(), task.sequences[:, -1].tolist()
    holds = {
        "random": True,
        "one": len(set(targets)) == 1,
        "two": len(set(targets)) <= 2,
        "last": targets == last,
        "cyclic": targets == [i % task.vocab_size for i in range(len(targets))],
        "blocks": targets == sorted(targets),
    }
    assert holds[labels]


def test_examples_shrink_to_small_ones_that_can_be_pasted() -> None:
    seen: list[AssociationTask] = []

    @settings(max_examples=200, database=None, deadline=None)
    @given(association_tasks(seq_len=2))
    def fails_above_three(task: AssociationTask) -> None:
        if task.num_associations > 3:
            seen.append(task)
            raise AssertionError

    with pytest.raises(AssertionError) as failure:
        fails_above_three()
    assert seen[-1].num_associations == 4
    printed = "".join(failure.value.__notes__)
    assert "sequences=[[" in printed and "array(" not in printed
    assert eval(repr(seen[-1])) == seen[-1]


@few_examples
@given(data=st.data(), dims=ranges(1, 8), heads=ranges(0, 8), wide=st.booleans())
def test_shapes_keep_to_the_sizes_asked_for(
    data: st.DataObject, dims: tuple[int, int], heads: tuple[int, int], wide: bool
) -> None:
    widths = data.draw(st.none() | ranges(1, dims[1]))
    shape = data.draw(attention_shapes(embed_dim=dims, num_heads=heads, head_dim=widths, wide_heads=wide))
    assert dims[0] <= shape.embed_dim <= dims[1]
    assert heads[0] <= shape.num_heads <= heads[1]
    assert wide or shape.head_dim <= shape.embed_dim
    assert widths is None or widths[0] <= shape.head_dim <= widths[1]


def test_wide_heads_and_no_heads_are_found() -> None:
    assert find(attention_shapes(wide_heads=True), lambda shape: shape.head_dim > shape.embed_dim).rank >= 2
    assert find(attention_shapes(), lambda shape: shape.num_heads == 0).num_heads == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 1}, "vocab_size = 1"),
        ({"vocab_size": (3, 2)}, "least <= largest"),
        ({"seq_len": 0}, "seq_len = 0"),
        ({"num_associations": 0}, "num_associations = 0"),
        ({"vocab_size": 2, "seq_len": 2, "num_associations": 5}, "at most 4"),
        ({"vocab_size": 2, "seq_len": 2, "num_associations": 4, "complete": False}, "at most 3"),
        ({"complete": True, "num_associations": 3}, "must be None"),
        ({"labels": "alphabetical"}, "labels = 'alphabetical'"),
    ],
)
def test_impossible_tasks_are_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        association_tasks(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embed_dim": 0}, "embed_dim = 0"),
        ({"num_heads": -1}, "num_heads = -1"),
        ({"embed_dim": 2, "head_dim": 3}, "wide_heads=True"),
    ],
)
def test_impossible_shapes_are_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attention_shapes(**arguments)  # type: ignore[arg-type]
