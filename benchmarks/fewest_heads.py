"""The fewest heads with which the solver holds complete tables of random labels, shape by shape: the record behind the law.

    python -m benchmarks.fewest_heads [--tables 2] [--attempts 1] [--steps 600] [--seconds 60] [--out FILE]

One row per shape and table is written as soon as it is known; rows already in the file are not searched again. At the end the
table and the fitted law are printed. Every model behind a row was proved to hold its table (exact arithmetic).
"""

import argparse
import datetime
import time
from pathlib import Path

from constructions import certify
from empirical.fewest_heads import RECORD, Attempt, fewest_heads, fit_law, read_record, write_record
from theory.memorization import effective_parameters
from theory.tasks import AssociationTask

SHAPES = (  # N, d, d_h
    (6, 2, 2),
    (8, 2, 2),
    (10, 2, 2),
    (10, 2, 1),
    (12, 3, 3),
    (12, 3, 2),
    (16, 4, 4),
    (16, 4, 2),
    (20, 4, 4),
    (20, 5, 5),
    (30, 6, 6),
    (50, 10, 10),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2, help="label tables per shape, seeds 0, 1, .. (default 2)")
    parser.add_argument("--attempts", type=int, default=1, help="solver seeds per count of heads (default 1)")
    parser.add_argument("--steps", type=int, default=600, help="solver steps per attempt (default 600)")
    parser.add_argument("--seconds", type=float, default=60.0, help="last stop per attempt (default 60)")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="only the first so many shapes")
    parser.add_argument("--out", type=Path, default=RECORD)
    arguments = parser.parse_args()
    rows = read_record(arguments.out).to_dict("records") if arguments.out.exists() else []
    known = {(row["vocab_size"], row["embed_dim"], row["head_dim"], row["table_seed"]) for row in rows}
    for table in range(arguments.tables):
        for vocab, dim, width in SHAPES[: arguments.shapes]:
            if (vocab, dim, width, table) not in known:
                row = search(vocab, dim, width, table, arguments)
                if row is not None:
                    rows.append(row)
                    write_record(rows, arguments.out)
    if rows:
        show(arguments.out)


def search(vocab: int, dim: int, width: int, table: int, arguments: argparse.Namespace) -> dict[str, object] | None:
    def report(attempt: Attempt) -> None:
        print(
            f"  N={vocab} d={dim} d_h={width} table {table}: H={attempt.num_heads} holds {attempt.num_held}"
            f" ({attempt.steps} steps, {attempt.seconds:.1f} s)",
            flush=True,
        )

    task = AssociationTask.complete(vocab, 2, table)
    begin = time.process_time()
    found = fewest_heads(
        task,
        dim,
        width,
        attempts=arguments.attempts,
        max_steps=arguments.steps,
        max_seconds=arguments.seconds,
        progress=report,
    )
    used = time.process_time() - begin
    if found.solved is None:
        print(f"N={vocab} d={dim} d_h={width} table {table}: nothing solved within the budget", flush=True)
        return None
    solved = found.solved
    heads = solved.model.num_heads
    return {
        "vocab_size": vocab,
        "seq_len": 2,
        "embed_dim": dim,
        "head_dim": width,
        "table_seed": table,
        "num_heads": heads,
        "largest_failed": -1 if found.largest_failed is None else found.largest_failed,
        "num_associations": task.num_associations,
        "effective_parameters": effective_parameters(vocab, 2, dim, heads, width),
        "bits_per_effective_parameter": round(solved.bits_per_effective_parameter, 4),
        "margin": round(solved.margin, 6),
        "certified": certify(solved.model, task, dtypes=()).statements["exact"].num_right,
        "solver_seed": solved.seed,
        "attempts": arguments.attempts,
        "max_steps": arguments.steps,
        "max_seconds": arguments.seconds,
        "cpu_seconds": round(used, 1),
        "date": datetime.date.today().isoformat(),
    }


def show(path: Path) -> None:
    record = read_record(path)
    law = fit_law(record)
    print("\n   N   d d_h table   H  law  T0     P_eff  bits/P_eff")
    for row in record.itertuples():
        sizes = (row.num_associations, row.vocab_size, row.seq_len, row.embed_dim, row.head_dim)
        print(
            f"{row.vocab_size:4d}{row.embed_dim:4d}{row.head_dim:4d}{row.table_seed:6d}{row.num_heads:4d}{law.heads(*sizes):5d}"
            f"{row.num_associations:5d}{row.effective_parameters:9d}{row.bits_per_effective_parameter:9.2f}"
        )
    bits = law.bits
    print(
        f"\nT0 log2 N = b P_eff(H*) with b = {bits.value:.2f} bits, 95% interval {bits.low:.2f} to {bits.high:.2f} over"
        f" {law.num_shapes} shapes ({law.num_tables} tables)"
    )
    if law.slope is not None:
        slope = law.slope
        interval = f"[{slope.low:.3f}, {slope.high:.3f}]"
        print(f"slope of log P_eff(H*) against log(T0 log2 N): {slope.value:.3f} {interval}; 1 by the law")


if __name__ == "__main__":
    main()
