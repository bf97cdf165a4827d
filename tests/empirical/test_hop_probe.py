"""The probe: heads whose role is known score 1.0 for it, others don't, and the scores are those that are printed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from constructions import hops as hop_constructions
from constructions._hops_recipes import attended_hops
from empirical.decoder import Decoder
from empirical.hop_maps import MAP_COLUMNS, map_table
from empirical.hop_probe import PREVIOUS, PROBE_COLUMNS, mechanism, probe, probe_model
from theory.hop_strings import random_strings
from theory.hops import HopTask, find, find_by_definition, layers_needed

TASK = HopTask(4, 30, 0, 6)
STRINGS = np.random.default_rng(0).integers(0, 4, (5, 30))


def one_hot(strings: np.ndarray, hops: int | None, offset: int = 1) -> np.ndarray:
    """A head's maps, made by the definition: to find^j or the previous token, where there is none to column 0."""
    maps = np.zeros((len(strings), strings.shape[1] + offset, strings.shape[1] + offset))
    for string, made in zip(strings, maps, strict=True):
        made[:offset, 0] = 1
        at = [i for i in range(len(string))] if hops is None else find_by_definition(string, hops)
        for row, found in enumerate(at):
            made[row + offset, found - 1 + offset if found else 0] = 1
    return maps


def stacked(*heads: np.ndarray) -> np.ndarray:
    """One layer of heads."""
    return np.stack(heads, axis=1)[None]


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("hops", [None, 0, 1, 2, 5])
def test_a_perfect_head_scores_exactly_one_on_defined_rows(hops: int | None, offset: int) -> None:
    result = probe(stacked(one_hot(STRINGS, hops, offset)), STRINGS, num_hops=5, offset=offset)
    place = result.hops.index(hops)
    assert result.cosine[0, 0, place] == 1.0 and result.scores["weight"][0, 0, place] == 1.0
    assert result.decisiveness[0, 0] == 1.0
    assert result.scores["paper_cosine"][0, 0, place] <= 1.0
    if hops not in (0, None) or offset:
        assert result.scores["paper_cosine"][0, 0, place] < 1.0  # rows without a target lower it
    assert (np.delete(result.cosine[0, 0], place) < 0.95).all()


def test_scores_are_those_of_the_definitions() -> None:
    """Against matrices written out, on random attention: Frobenius norms, with and without the other rows."""
    generator = np.random.default_rng(1)
    maps = generator.random((1, 5, 1, 31, 31)) * np.tril(np.ones((31, 31)))
    maps /= maps.sum(axis=-1, keepdims=True)
    result = probe(maps, STRINGS, num_hops=2)
    wanted: dict[str, list[float]] = {name: [] for name in ("cosine", "paper_score", "paper_cosine", "weight")}
    rows = 0
    for string, matrix in zip(STRINGS, maps[0, :, 0], strict=True):
        target = np.zeros((31, 31))
        for i, found in enumerate(find_by_definition(string, 2), start=1):
            target[i, found] = found > 0
        defined = target.sum(axis=1) > 0
        rows += int(defined.sum())
        both, size = matrix * target, np.sqrt(target.sum())
        wanted["cosine"].append(both.sum() / (np.linalg.norm(matrix[defined]) * size))
        wanted["paper_score"].append((both**2).sum() / (np.linalg.norm(matrix) * size))
        wanted["paper_cosine"].append(both.sum() / (np.linalg.norm(matrix) * size))
        wanted["weight"].append(both.sum() / defined.sum())
    for name, values in wanted.items():
        assert result.scores[name][0, 0, result.hops.index(2)] == pytest.approx(np.mean(values), rel=1e-12)
    assert result.num_rows[result.hops.index(2)] == rows
    assert result.decisiveness[0, 0] == pytest.approx(maps[0, :, 0, 1:].max(axis=-1).mean())


def test_a_blurred_head_is_less_decisive_and_scores_less() -> None:
    sharp = one_hot(STRINGS, 1)
    flat = np.tril(np.ones((31, 31))) / np.arange(1, 32)[:, None]
    result = probe(stacked(sharp, 0.5 * sharp + 0.5 * flat, np.broadcast_to(flat, sharp.shape)), STRINGS, num_hops=1)
    cosine = result.cosine[0, :, result.hops.index(1)]
    assert 1 == cosine[0] > cosine[1] > cosine[2]
    assert 1 == result.decisiveness[0, 0] > result.decisiveness[0, 1] > result.decisiveness[0, 2]


def test_strings_without_a_defined_row_are_left_out() -> None:
    strings = np.array([[0, 1, 2, 3], [0, 1, 0, 1]])
    result = probe(stacked(one_hot(strings, 1)), strings, num_hops=3)
    assert result.num_strings.tolist() == [2, 2, 1, 1, 0]
    assert result.cosine[0, 0].tolist()[2] == 1.0 and np.isnan(result.cosine[0, 0, 4])
    assert set(result.table().dropna(subset="cosine")["target"]) == {PREVIOUS, "find^0", "find^1", "find^2"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_torch_and_numpy_of_any_precision(dtype: torch.dtype) -> None:
    maps = torch.as_tensor(stacked(one_hot(STRINGS, 2), one_hot(STRINGS, 1))).to(dtype)
    result = probe(maps.requires_grad_(), STRINGS, num_hops=2)
    assert result.cosine[0, 0, result.hops.index(2)] == 1.0 and result.cosine[0, 1, result.hops.index(1)] == 1.0


def test_the_table_and_the_best() -> None:
    result = probe(stacked(one_hot(STRINGS, 2), one_hot(STRINGS, None), one_hot(STRINGS, 1)), STRINGS, num_hops=2)
    table = result.table()
    assert tuple(table.columns) == PROBE_COLUMNS and len(table) == 3 * 4
    perfect = table[table["cosine"] == 1.0].set_index("target")
    assert perfect["head"].to_dict() == {PREVIOUS: 1, "find^1": 2, "find^2": 0}
    assert result.best_targets()["target"].tolist() == ["find^2", PREVIOUS, "find^1"]
    assert (table["layer"] == 1).all()


@pytest.mark.parametrize(("recipe", "num_hops"), [("A", 1), ("A", 5), ("A", 8), ("B", 3), ("B", 6), ("B", 7)])
@pytest.mark.parametrize("multi_task", [False, True])
def test_heads_of_built_models_score_one_for_their_role(recipe: Any, num_hops: int, multi_task: bool) -> None:
    which: dict[str, Any] = {"max_hops": 8 if recipe == "A" else 7} if multi_task else {"num_hops": num_hops}
    built = hop_constructions.build(**which, vocab_size=3, seq_len=40, recipe=recipe)
    result = probe_model(built.model, built.task, num_hops, num_strings=3, repeats=True)
    find_roles = 0
    for role in built.roles_for(num_hops):
        if role.role in ("previous token", "find"):
            place = result.hops.index(role.hops if role.role == "find" else None)
            assert result.cosine[role.layer - 1, role.head, place] == 1.0
            assert result.decisiveness[role.layer - 1, role.head] == 1.0
            find_roles += role.role == "find"
    assert find_roles == built.num_layers - 1


@pytest.mark.parametrize("recipe", ["A", "B"])
@pytest.mark.parametrize("num_hops", [1, 2, 3, 7, 11, 16, 31])
@pytest.mark.parametrize("more", [0, 2])
def test_what_recipes_attend_to_composes_to_hop_k(recipe: Any, num_hops: int, more: int) -> None:
    """Follow the pointers: A doubles (find^n, find^(n+1)), B's bit hops by what it attends to and then on."""
    layers = layers_needed(num_hops, recipe) + more
    attended = attended_hops(recipe, num_hops, layers)
    assert list(attended) == list(range(3, layers + 1))
    reached = 0 if recipe == "A" or more else 1
    for hops in attended.values():
        assert hops - reached in (0, 1)
        reached += hops
    assert reached == (num_hops - 1 if recipe == "A" else num_hops)


def test_plain_doubling_and_content_hop_are_told_apart() -> None:
    def layers(*attended: int | None) -> Float[np.ndarray, "layers batch heads positions positions"]:
        return np.concatenate([stacked(one_hot(apart, hops)) for hops in attended])

    # Without equal neighbours: behind those find^1(i) = i, so that all find^j agree.
    apart = random_strings(4, 60, 5, repeats=False, generator=np.random.default_rng(0))

    said = {
        name: mechanism(probe(layers(None, 1, *attended.values()), apart, num_hops=9))["verdict"].tolist()
        for name, attended in {"A": attended_hops("A", 8, 5), "B": attended_hops("B", 15, 5), "far": {3: 3, 4: 5}}.items()
    }
    assert said["A"] == ["none"] + ["plain doubling"] * 4
    assert said["B"] == ["none", "plain doubling", "content hop", "content hop", "content hop"]
    assert said["far"] == ["none", "plain doubling", "beyond both", "beyond both"]
    flat = np.broadcast_to(np.tril(np.ones((31, 31))) / np.arange(1, 32)[:, None], (2, 5, 1, 31, 31))
    table = mechanism(probe(flat, STRINGS, num_hops=3))
    assert table["verdict"].tolist() == ["none", "none"] and table["most"].isna().all()


def test_a_decoder_in_training_mode_is_probed_without_dropout_and_gets_its_mode_back() -> None:
    torch.manual_seed(0)
    decoder = Decoder(TASK.num_tokens, 31, 16, 2, 2, dropout=0.5)
    decoder.train()
    first, second = (probe_model(decoder, TASK, 3, num_strings=4) for _ in range(2))
    assert (first.cosine == second.cosine).all() and decoder.training
    assert first.cosine.shape == (2, 2, 5)


def test_the_batch_is_read_in_parts_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Heads:
        def attention_maps(
            self, tokens: Int[Tensor, "batch positions"]
        ) -> Float[Tensor, "layers batch heads positions positions"]:
            sizes.append(len(tokens))
            strings = tokens.numpy()[:, 1:] - TASK.symbol_tokens
            flat = np.tril(np.ones((31, 31))) / np.arange(1, 32)[:, None]
            return torch.as_tensor(stacked(0.6 * one_hot(strings, 1) + 0.4 * flat))

    whole = probe_model(Heads(), TASK, 2, num_strings=9)
    assert sum(sizes) == 9
    sizes.clear()
    monkeypatch.setattr("empirical.hop_probe.CHUNK_ELEMENTS", 3 * 31 * 31)
    parts = probe_model(Heads(), TASK, 2, num_strings=9)
    assert sizes == [1, 3, 3, 2]
    for name, scores in whole.scores.items():
        assert parts.scores[name] == pytest.approx(scores, rel=1e-12)
    assert (whole.num_rows == parts.num_rows).all() and whole.decisiveness == pytest.approx(parts.decisiveness)


def test_maps_as_a_table() -> None:
    built = hop_constructions.build(max_hops=2, vocab_size=4, seq_len=10)
    string = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 0])
    table = map_table(built.model, built.task, 2, string, kind="built", name="recipe A")
    assert tuple(table.columns) == MAP_COLUMNS and len(table) == 3 * 121
    heads = table.groupby(["layer", "head"], sort=True).first()
    assert heads["target"].tolist() == [PREVIOUS, "find^1", "find^1"] and (heads["cosine"] == 1.0).all()
    second = table[(table["layer"] == 2) & (table["column"] == 0)]
    assert second["target_column"].tolist() == [-1, *(at or -1 for at in find(string, 1))]
    at = table[(table["target_column"] == table["column"])]
    assert (at["weight"] == 1).all() and len(at)


MAPS = stacked(one_hot(STRINGS, 1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: probe(MAPS, STRINGS, num_hops=-1), "num_hops = -1"),
        (lambda: probe(MAPS, STRINGS, num_hops=1, offset=-1), "offset = -1"),
        (lambda: probe(MAPS, STRINGS, num_hops=1, offset=0), r"\(5, 31\) fits"),
        (lambda: probe(-MAPS, STRINGS, num_hops=1), "weights from -1 to"),
        (lambda: probe(MAPS * np.nan, STRINGS, num_hops=1), "weights from nan"),
        (lambda: mechanism(probe(MAPS, STRINGS, num_hops=1), cut=0.0), "cut = 0.0"),
        (lambda: probe(MAPS, STRINGS, num_hops=1).columns("find^9", STRINGS), "target = 'find"),
    ],
)
def test_wrong_arguments_get_one_plain_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_what_has_no_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="must have the method attention_maps"):
        probe_model(object(), TASK, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="symbols of shape"):
        probe(MAPS, STRINGS[:4], num_hops=1)
    with pytest.raises(ValueError, match="attention_maps of shape"):
        probe(MAPS[0], STRINGS, num_hops=1)
    with pytest.raises(ValueError, match="must have the method attention_maps"):
        map_table(object(), TASK, 1, STRINGS[0], kind="trained", name="x")  # type: ignore[arg-type]
