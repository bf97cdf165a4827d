"""What `headcount manifold build` does. Everything slow to import is imported here."""

from pathlib import Path

import numpy as np
import torch

from constructions.manifolds import ManifoldNetwork
from constructions.manifolds import build as build_network
from headcount import __version__, console
from headcount._manifold_cli import MOST_POINTS
from headcount._output import checked_file
from theory.manifolds import Target, manifold_named, target_named


def build(
    *, manifold: str, output: Path, function: str, beta: float, grid: int, degree: int, ambient_dim: int | None, points: int,
    seed: int,
) -> None:
    """`headcount manifold build`."""
    checked_file(output, "--output", {})
    if points > MOST_POINTS:
        raise ValueError(f"--points {points:,}: 100 to {MOST_POINTS:,} are legal")
    place = manifold_named(manifold, ambient_dim, seed)
    target = target_named(place, function, beta)
    built = build_network(place, target, grid, degree)
    sample = place.sample(points, np.random.default_rng(seed))
    values, answers = target(sample), built(sample)
    built.save(output, {"made by": f"headcount {__version__} manifold build", "function": target.name})
    console.show(console.facts(f"{target.name} on {place.name}", _facts(built, target)))
    error = np.abs(answers - values)
    console.say(
        f"error at {points:,} random points: rms {np.sqrt(np.mean(error**2)):.3g}, largest {error.max():.3g} "
        f"(the function's own rms {np.sqrt(np.mean(values**2)):.3g})"
    )
    console.say(f"MODEL {output}")


def _facts(built: ManifoldNetwork, target: Target) -> dict[str, str]:
    place, network = built.manifold, built.network
    smooth = "smooth" if np.isinf(target.smoothness) else f"Hoelder {target.smoothness:g}, no more"
    reach = f"{place.reach:g}" if place.reach is not None else f"not known ({place.reach_reason})"
    return {
        "dimension d, ambient D": f"{place.dimension}, {place.ambient_dim}",
        "reach": reach,
        "function": smooth,
        "charts, grid N, degree": f"{built.charts.num_charts}, {built.grid}, {built.degree}",
        "blocks": f"{built.num_blocks} (the same for every N)",
        "tokens, width": f"{built.num_tokens:,}, 5",
        "heads by block": ", ".join(f"{heads:,}" for heads in network.heads_per_block),
        "parameters": f"{built.num_parameters:,}",
        "dense attention": f"routing constant {max(network.routing_constants):.3g}; rounding up to "
        f"{network.rounding_error(torch.float64):.1g} in float64, {network.rounding_error(torch.float32):.1g} in float32",
    }
