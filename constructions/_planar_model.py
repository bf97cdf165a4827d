"""From a staircase's plan to a model with narrow heads, and what running it says."""

from dataclasses import replace

import torch

from constructions._staircase_plan import Plan, gates
from constructions.aot import AttentionOnlyTransformer
from constructions.construction import Construction, logit_margins

CHECKED_WORK = 1e9  # associations x heads x embed_dim of the automatic check; beyond, a sample of that size is run


def gated_model(plan: Plan, head_dim: int) -> AttentionOnlyTransformer:
    """A model with the plan's embeddings and thresholds, in heads of the given width; values, outputs and readout are zero."""
    vocab_size, embed_dim = plan.layout.rows.shape[1:]
    model = AttentionOnlyTransformer(vocab_size, 2, embed_dim, plan.num_heads, head_dim)
    position = plan.layout.position_embedding
    narrow = replace(plan, head_dim=head_dim)
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(plan.layout.rows[0] - position[0]))
        model.position_embedding.copy_(torch.from_numpy(position))
        start = 0
        for chain in plan.chains:
            heads = slice(start, start + len(chain.thresholds))
            query, key = (torch.from_numpy(gate) for gate in gates(narrow, chain.kind))
            thresholds = torch.from_numpy(chain.thresholds)[:, None, None]
            model.query[heads] = query[0] + thresholds * query[1]
            model.key[heads] = key[0] + thresholds * key[1]
            start = heads.stop
    return model


def verified(built: Construction) -> Construction:
    """Run the construction in float64 and float32; where float64 finds it wrong, keep what is right and say so."""
    work = max(1, built.num_heads) * built.model.embed_dim
    sample = max(1, int(CHECKED_WORK / work))
    built = built.checked(("float64", "float32"), sample=sample if sample < built.num_held else None)
    if built.checks[0].num_right == built.checks[0].num_checked:
        return built
    right = logit_margins(built.model, built.task, built.held).numpy() > 0
    facts = "".join(f", {name} {built.notes[name]}" for name in sorted(built.notes) if name.startswith(("least", "condition")))
    reason = f"the plan promised {built.num_held} associations, but rounding in float64 leaves {int(right.sum())} right{facts}"
    return replace(built, held=built.held[right], failure=reason).checked(("float64", "float32"))
