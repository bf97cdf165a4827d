"""Tokens per second through built hop models, against the same layers on torch's fused attention, and against the O(N) scan.

Recipe A at N = 256, k = 16, four symbols, `predict` from strings to answers. The rival runs the same tensors and the same maps
with torch.nn.functional.scaled_dot_product_attention (torch 2, causal) in place of the project's attention; both must answer
alike. `theory.hops.find` (numpy) is there for scale: attention does N times more than the task needs.

    python -m benchmarks.hops_speed [--threads 2] [--strings 128] [--profile]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from constructions import hops
from theory.hops import find

SEQ_LEN, HOPS, VOCAB = 256, 16, 4
RIVAL_CHUNK = 16


def fused(built: hops.HopConstruction, tokens: Tensor) -> Tensor:
    """Answers of the same model by torch's fused attention."""
    model, answers = built.model, []
    with torch.no_grad():
        for part in tokens.split(RIVAL_CHUNK):
            stream = model.token_embedding[part] + model.position_embedding
            for layer in range(model.num_layers):
                queries, keys, values = (
                    torch.einsum("bpd,hde->bhpe", stream, weights[layer]) for weights in (model.query, model.key, model.value)
                )
                mixed = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=1.0)
                stream = stream + torch.einsum("bhpe,hed->bpd", mixed, model.output[layer])
                stream = model.maps[layer](stream)
            answers.append((stream @ model.unembedding.T).argmax(-1))
    return torch.cat(answers)


def seconds(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least wall and least processor time of one run."""
    run()
    times = []
    for _ in range(repeats):
        wall, own = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - own))
    return min(wall for wall, _ in times), min(own for _, own in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--strings", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="where the time goes, per operation")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    symbols = np.random.default_rng(0).integers(0, VOCAB, (args.strings, SEQ_LEN))
    count = symbols.size
    scan, _ = seconds(lambda: find(symbols, HOPS), args.repeats)
    print(f"recipe A, N = {SEQ_LEN}, k = {HOPS}, {args.strings} strings, {args.threads} threads")
    print(f"numpy's scan: {count / scan:,.0f} tokens/s")
    print("dtype     tokens/s   per processor second   fused rival   ours/rival   same answers")
    for dtype in (torch.float32, torch.float64):
        built = hops.build(HOPS, vocab_size=VOCAB, seq_len=SEQ_LEN, dtype=dtype)
        tokens = torch.from_numpy(built.task.tokens(symbols, HOPS))
        same = np.array_equal(built.predict(symbols), built.task.symbols_of(fused(built, tokens).numpy())[:, 1:])
        ours, own = seconds(lambda built=built: built.predict(symbols), args.repeats)
        rival, _ = seconds(lambda built=built, tokens=tokens: fused(built, tokens), args.repeats)
        name = str(dtype).removeprefix("torch.")
        rates = f"{count / ours:11,.0f} {count / own:22,.0f} {count / rival:13,.0f} {rival / ours:12.2f}"
        print(f"{name} {rates}   {same}", flush=True)
        if args.profile:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
                built.predict(symbols)
            print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=30))


if __name__ == "__main__":
    main()
