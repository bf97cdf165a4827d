"""Interaction networks as safetensors files: arrays and JSON, nothing that is executed."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from constructions._interaction_maps import FeedForward
from constructions._interaction_pairs import HeadPairs
from constructions._token_model import ModelFileError
from theory._messages import first_line
from theory._whole_files import whole_files

if TYPE_CHECKING:
    from constructions.interaction import Block, InteractionNetwork

FILE_FORMAT = "headcount interaction network, version 1"
PAIR_ARRAYS = ("targets", "sources", "rows", "lefts", "rights", "scales", "shifts")
NETWORK_ARRAYS = ("weight_1", "bias_1", "weight_2", "bias_2", "weight_3")
SMALL = {"rows": np.int8, "lefts": np.int8, "rights": np.int8, "targets": np.int32, "sources": np.int32}  # on disk


def write_network(network: "InteractionNetwork", path: str | os.PathLike[str], provenance: Mapping[str, str]) -> None:
    """Write it whole or not at all; see `InteractionNetwork.save`."""
    path = Path(path).resolve()  # a link stays a link: what it points to is replaced
    if (path.exists() and not path.is_file()) or not path.parent.is_dir():
        raise ModelFileError(f"{path}: an ordinary file in an existing folder is legal as a place for a network")
    arrays: dict[str, np.ndarray] = {"inputs": network.inputs.astype(np.int64)}
    for number, block in enumerate(network.blocks):
        for name in PAIR_ARRAYS:
            array = getattr(block.pairs, name)
            arrays[f"{number}.{name}"] = np.ascontiguousarray(array.astype(SMALL.get(name, array.dtype)))
        if block.feed_forward is not None:
            arrays |= {f"{number}.{name}": np.ascontiguousarray(getattr(block.feed_forward, name)) for name in NETWORK_ARRAYS}
    shape = {"num_tokens": int(network.num_tokens), "output": int(network.output), "num_blocks": network.num_blocks}
    metadata = {
        "format": FILE_FORMAT,
        "sha256": digest(arrays),
        "shape": json.dumps(shape | {"input_bound": float(network.input_bound)}),
        "provenance": json.dumps(dict(provenance)),
    }
    try:
        with whole_files(path) as (partial,):
            save_file(arrays, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"{path}: can't be written ({first_line(error)})") from error


def read_network(
    kind: "type[InteractionNetwork]", block: "type[Block]", path: str | os.PathLike[str]
) -> "tuple[InteractionNetwork, dict[str, str]]":
    """A network of the class `kind` with blocks of the class `block`, and the strings kept beside it."""
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for without end
        raise ModelFileError(f"{path}: {'is no ordinary file' if path.exists() else 'no such file'}; a safetensors file is legal")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file ({first_line(error)})") from error
    if metadata.get("format") != FILE_FORMAT:
        raise ModelFileError(f"{path}: not an interaction network (its metadata lacks format = {FILE_FORMAT!r})")
    if metadata.get("sha256") != digest(arrays):
        raise ModelFileError(f"{path}: is damaged: its arrays are not those that were written")
    try:
        shape, provenance = json.loads(metadata["shape"]), json.loads(metadata.get("provenance", "{}"))
        if not isinstance(provenance, dict) or not all(isinstance(word, str) for word in provenance.values()):
            raise ValueError("its provenance is not a table of strings")
        network = _built(kind, block, shape, arrays)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: does not hold a legal network ({first_line(error)})") from error
    return network, provenance


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Of names, shapes, types and bytes: one flipped bit is one head that says something else."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape};".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _built(
    kind: "type[InteractionNetwork]", block: "type[Block]", shape: dict[str, object], arrays: dict[str, np.ndarray]
) -> "InteractionNetwork":
    count, bound = shape["num_blocks"], shape["input_bound"]
    if not isinstance(count, int) or not 0 <= count <= len(arrays) or not isinstance(bound, float):
        raise ValueError(f"num_blocks = {count!r} and input_bound = {bound!r} do not fit its {len(arrays)} arrays")
    left = dict(arrays)
    blocks = []
    for number in range(count):
        pairs = HeadPairs(*(_array(left, f"{number}.{name}", name not in ("scales", "shifts")) for name in PAIR_ARRAYS))
        network = None
        if f"{number}.{NETWORK_ARRAYS[0]}" in left:
            network = FeedForward(*(_array(left, f"{number}.{name}", False) for name in NETWORK_ARRAYS))
        blocks.append(block(pairs, network))
    inputs = _array(left, "inputs", True)
    if left:
        raise ValueError(f"holds the unknown array {min(left)!r}")
    num_tokens, output = shape["num_tokens"], shape["output"]
    if not isinstance(num_tokens, int) or not isinstance(output, int):
        raise ValueError(f"num_tokens = {num_tokens!r} and output = {output!r} are not both integers")
    if inputs.ndim != 1:
        raise ValueError(f"inputs has shape {inputs.shape}: one entry an input is legal")
    return kind(num_tokens, inputs, output, tuple(blocks), bound)


def _array(left: dict[str, np.ndarray], name: str, whole: bool) -> np.ndarray:
    array = left.pop(name)
    if array.dtype.kind != ("i" if whole else "f"):
        raise ValueError(f"{name} has dtype {array.dtype}: {'integers' if whole else 'floating-point numbers'} are legal")
    return array.astype(np.int64 if whole else np.float64)
