"""Sweep files give the cells they say, and every mistake is told with its file, its line and its key."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empirical._sweep_file import AXES, MOST_BYTES, MOST_CELLS, SETTINGS, TOP
from empirical.cells import Cell
from empirical.sweep import Sweep, SweepFileError, read_sweep
from empirical.training import TrainingSettings
from theory.shapes import TransformerShape

ROOT = Path(__file__).parents[2]
WHOLE = """\
name = "wide"
title = "Wide heads"   # for people
vocab_size = 12
seq_len = 3
variant = "paper"
repetitions = 2
table_seed = 4
seed = 5
device = "cuda"

[settings]
batch_size = 32
epochs = 3
learning_rate = 1
betas = [0.5, 0.75]
accuracy_window = 20
dtype = "float64"

[[grid]]
embed_dim = [3, 4]
num_heads = "1:5:2"
head_dim = "embed_dim"

[[grid]]
embed_dim = 3
num_heads = "1, 7:8"
head_dim = 3
num_layers = 2
mlp_width = [0, "x"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(SweepFileError) as caught:
        read_sweep(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and "\n" not in said and said.isprintable(), said
    return said.removeprefix(str(path))


def test_a_file_gives_all_combinations(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, WHOLE.replace('[0, "x"]', "[0, 6]")))
    assert (sweep.name, sweep.title) == ("wide", "Wide heads")
    settings = TrainingSettings(
        batch_size=32, epochs=3, learning_rate=1.0, betas=(0.5, 0.75), accuracy_window=20, dtype=torch.float64
    )
    shapes = [TransformerShape(d, heads, d) for d in (3, 4) for heads in (1, 3, 5)]
    shapes += [TransformerShape(3, heads, 3, 2, width) for heads in (1, 7, 8) for width in (0, 6)]
    assert sweep.cells == tuple(
        Cell(12, shape, number, "paper", settings, 3, 4, 5, "cuda") for shape in shapes for number in range(2)
    )


def test_what_is_not_said_is_as_in_a_cell_and_equal_cells_count_once(tmp_path: Path) -> None:
    grid = "[[grid]]\nembed_dim = [2, 3]\nnum_heads = 1\nhead_dim = 2\n"
    sweep = read_sweep(written(tmp_path, f'name = "a"\nvocab_size = 5\n{grid}{grid.replace("[2, 3]", "[3, 4]")}'))
    assert sweep == Sweep("a", tuple(Cell(5, TransformerShape(d, 1, 2)) for d in (2, 3, 4)), "a")
    assert sweep.cells[0].settings == TrainingSettings.notebook()


@st.composite
def sweeps(draw: st.DrawFn) -> tuple[str, list[Cell]]:
    """A file's text and the cells it should give."""
    top = {"vocab_size": draw(st.integers(2, 40)), "seq_len": draw(st.integers(1, 3)), "seed": draw(st.integers(0, 2**70))}
    top |= {"table_seed": draw(st.integers(0, 9)), "variant": draw(st.sampled_from(["notebook", "paper"]))}
    repetitions = draw(st.integers(1, 3))
    epochs, rate = draw(st.integers(2, 70)), draw(st.floats(1e-300, 1e300))
    text = [f"{name} = {json.dumps(value)}" for name, value in {"name": "a-b.c", **top, "repetitions": repetitions}.items()]
    text += ["[settings]", f"epochs = {epochs}", f"learning_rate = {rate!r}"]
    shapes: dict[TransformerShape, None] = {}
    for _ in range(draw(st.integers(1, 3))):
        text.append("[[grid]]")
        axes: dict[str, list[int]] = {}
        for name in AXES if draw(st.booleans()) else AXES[:3]:
            first, step, count = draw(st.integers(1, 9)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
            axes[name] = [first + step * number for number in range(count)]
            forms = [repr(axes[name]), f'"{first}:{axes[name][-1] + draw(st.integers(0, step - 1))}:{step}"']
            forms += [f'"{",".join(map(str, axes[name]))}"', *([str(first)] if count == 1 else [])]
            text.append(f"{name} = {draw(st.sampled_from(forms))}")
        same = draw(st.booleans())
        if same:
            text = [line if not line.startswith("head_dim") or number < len(text) - len(axes) else 'head_dim = "embed_dim"'
                    for number, line in enumerate(text)]  # fmt: skip
        for d in axes["embed_dim"]:
            for heads in axes["num_heads"]:
                for width in [d] if same else axes["head_dim"]:
                    for layers in axes.get("num_layers", [1]):
                        for hidden in axes.get("mlp_width", [0]):
                            shapes[TransformerShape(d, heads, width, layers, hidden)] = None
    settings = TrainingSettings(epochs=epochs, learning_rate=rate)
    return "\n".join(text), [Cell(shape=s, repetition=r, settings=settings, **top) for s in shapes for r in range(repetitions)]


@given(sweeps())
def test_random_sweeps_are_read_as_written(tmp_path_factory: pytest.TempPathFactory, made: tuple[str, list[Cell]]) -> None:
    text, cells = made
    found = read_sweep(written(tmp_path_factory.getbasetemp(), text)).cells
    assert set(found) == set(cells) and len(found) == len(cells)


VALID = WHOLE.replace('[0, "x"]', "[0, 6]")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("vocab_size = 12", "vocab_sise = 12", 3, "vocab_sise", "unknown; legal are name, title, vocab_size"),
        ("vocab_size = 12\n", "", None, "vocab_size", "is missing"),
        ('name = "wide"', 'name = "a/b"', 1, "name", "letters, digits"),
        ('name = "wide"', "name = 3", 1, "name", "= 3: must be"),
        ('"Wide heads"', '"a\\nb"', 2, "title", "one line"),
        ("vocab_size = 12", "vocab_size = 1", 3, "vocab_size", "= 1: must be an integer >= 2"),
        ("vocab_size = 12", "vocab_size = 12.0", 3, "vocab_size", "= 12.0: must be an integer"),
        ("vocab_size = 12", "vocab_size = 90000", 3, "vocab_size", "are too many"),
        ("seed = 5", "seed = true", 8, "seed", "= True: must be an integer"),
        ("repetitions = 2", "repetitions = 0", 6, "repetitions", "= 0: must be an integer >= 1"),
        ('"paper"', '"papers"', 5, "variant", "must be one of 'notebook', 'paper'"),
        ('"cuda"', '["cpu"]', 9, "device", "must be one of 'cpu', 'cuda'"),
        ("epochs = 3", "epoch = 3", 13, "settings.epoch", "unknown; legal are batch_size, num_batches, epochs"),
        ("epochs = 3", "epochs = -3", 13, "settings.epochs", "= -3: must be an integer >= 1"),
        ("learning_rate = 1", "learning_rate = nan", 14, "settings.learning_rate", "= nan: must be a finite number > 0"),
        ("learning_rate = 1", f"learning_rate = 1{'0' * 400}", 14, "settings.learning_rate", "= inf: must be a finite"),
        ("[0.5, 0.75]", "[0.5, 1.5]", 15, "settings.betas", "[0, 1)"),
        ("[0.5, 0.75]", '[0.5, "a"]', 15, "settings.betas", "must be a pair"),
        ("accuracy_window = 20", "accuracy_window = 192", 16, "settings.accuracy_window", "= 192: must be at most"),
        ('"float64"', '"float16"', 17, "settings.dtype", "must be one of 'float32', 'float64'"),
        ("[settings]", "[[settings]]", 11, "settings", "must be a table"),
        ("embed_dim = [3, 4]", "embed_dim = [3, 0]", 20, "grid[1].embed_dim", "= [3, 0]: must be an integer from 1"),
        ("embed_dim = [3, 4]", "embed_dim = []", 20, "grid[1].embed_dim", "= []: must be"),
        ("embed_dim = [3, 4]", "embed_dim = [3, 3]", 20, "grid[1].embed_dim", "every number once"),
        ("embed_dim = [3, 4]", "embed_dim = [true]", 20, "grid[1].embed_dim", "= [True]: must be"),
        ("embed_dim = [3, 4]", "embed_dim = 1979-05-27", 20, "grid[1].embed_dim", "must be"),
        ("embed_dim = [3, 4]", "embed_dim = 10000000", 20, "grid[1].embed_dim", "from 1 to 1,000,000"),
        ('"1:5:2"', '"5:1"', 21, "grid[1].num_heads", "'5:1' is empty"),
        ('"1:5:2"', '"1:5:0"', 21, "grid[1].num_heads", "is empty"),
        ('"1:5:2"', '"1:5:2:1"', 21, "grid[1].num_heads", "must be"),
        ('"1:5:2"', '"-1:5"', 21, "grid[1].num_heads", "must be an integer from 0"),
        ('"1:5:2"', '"1:999999"', 21, "grid[1].num_heads", "more than 100,000 numbers"),
        ('"1:5:2"', '"0:60000"', 19, "grid[1]", f"at most {MOST_CELLS:,} are legal"),
        ('head_dim = "embed_dim"', 'head_dim = "head_dim"', 22, "grid[1].head_dim", "must name another entry"),
        ('head_dim = "embed_dim"', 'head_dim = "mlp_width"', 22, "grid[1].head_dim", "must name another entry"),
        ('head_dim = "embed_dim"', "", None, "grid[1].head_dim", "is missing"),
        ("head_dim = 3", "heads = 3", 27, "grid[2].heads", f"legal are {', '.join(AXES)}"),
        ("mlp_width = [0, 6]", 'mlp_width = [0, "x"]', 29, "grid[2].mlp_width", "must be an integer from 0"),
        ("[[grid]]", "[grid]", None, "", "is not TOML"),
    ],
)
def test_a_mistake_is_told_with_line_and_key(tmp_path: Path, old: str, new: str, line: int | None, key: str, words: str) -> None:
    assert old in VALID
    said = refused(tmp_path, VALID.replace(old, new, 1))
    assert words in said, said
    assert said.startswith(f", line {line}: {key} " if line else f": {key} " if key else ": "), said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "name is missing"),
        (b"name = ", "is not TOML"),
        (b"name = 1\nname = 2", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"a = " + b"[" * 5000, "is not TOML"),
        (b"a = " + b"1" * 5000, "is not TOML"),
        (b"#" * (MOST_BYTES + 1), "more than 1,048,576 bytes"),
        (b'name = "a"\nvocab_size = 5\ngrid = 3', "grid = 3: must be one or more tables"),
        (b'name = "a"\nvocab_size = 5\ngrid = []', "must be one or more tables"),
        (b'name = "a"\nvocab_size = 5', "grid is missing"),
        (b'"a\\u0000b" = 1', "is unknown"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(SweepFileError) as caught:
        read_sweep(path)
    said = str(caught.value)
    assert words in said and said.startswith(str(path)) and said.isprintable()


def test_folders_are_refused_and_missing_files_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SweepFileError, match="is a folder"):
        read_sweep(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_sweep(tmp_path / "none.toml")


VALUES = st.recursive(
    st.integers() | st.floats() | st.booleans() | st.text(st.characters(codec="ascii", exclude_characters="\x7f"), max_size=9),
    lambda inner: st.lists(inner, max_size=3), max_leaves=4,
)  # fmt: skip


@pytest.mark.bad_input
@given(
    st.sampled_from(["top", "settings", "grid"]),
    st.sampled_from([*TOP, *SETTINGS, *AXES, "other"]),
    VALUES,
)
def test_any_value_of_any_key_is_legal_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, table: str, key: str, value: Any
) -> None:
    entry = f"{key} = {_toml(value)}"
    if table == "top":
        text = "\n".join(line for line in VALID.splitlines() if not re.match(rf"{key} =", line))
        text = f"{entry}\n{text}"
    else:
        head = {"settings": "[settings]\n", "grid": "[[grid]]\n"}[table]
        start, _, rest = VALID.partition(head)
        body, blank, end = rest.partition("\n\n")
        body = "\n".join(line for line in body.splitlines() if not re.match(rf"{key} =", line))
        text = f"{start}{head}{entry}\n{body}{blank}{end}"
    path = written(tmp_path_factory.getbasetemp(), text)
    try:
        assert read_sweep(path).cells
    except SweepFileError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def test_the_example_of_the_docs_is_a_sweep(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(read_sweep(written(tmp_path, example)).cells) == 110
