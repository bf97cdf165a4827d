"""The plain rival of the stacked trainer: one model at a time, one attention module per head in a Python loop.

This is how the notebook of Dana, Pydi and Chevaleyre 2025 computes: every head is a `torch.nn.MultiheadAttention` with a
single head of its own, all positions are computed under a causal mask although only the last one is used, the loss takes
a log-softmax twice with 1e-12 between, and `torch.optim.Adam` steps on the parameters one tensor at a time.
"""

import math
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn


class NotebookModel(nn.Module):
    """The notebook's attention-only model; `tokens` of shape (batch, S) to logits of shape (batch, S, N)."""

    def __init__(self, vocab_size: int, seq_len: int, embed_dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Parameter(torch.empty(vocab_size, embed_dim))
        self.position_embedding = nn.Parameter(torch.empty(seq_len, head_dim))
        self.unembedding = nn.Linear(embed_dim, vocab_size, bias=False)
        self.heads = nn.ModuleList(
            nn.MultiheadAttention(head_dim, 1, bias=False) for _ in range(num_heads)
        )
        self.compress = nn.Linear(embed_dim, head_dim, bias=False) if embed_dim != head_dim else nn.Identity()
        self.expand = nn.Linear(head_dim, embed_dim, bias=False) if embed_dim != head_dim else nn.Identity()
        nn.init.uniform_(self.token_embedding, -1 / math.sqrt(embed_dim), 1 / math.sqrt(embed_dim))
        nn.init.uniform_(self.position_embedding, -1 / math.sqrt(head_dim), 1 / math.sqrt(head_dim))
        self.register_buffer("mask", torch.triu(torch.full((seq_len, seq_len), -math.inf), diagonal=1))

    def forward(self, tokens: Tensor) -> Tensor:
        residual = self.token_embedding[tokens]
        inside = self.compress(residual) + self.position_embedding
        inside = inside.transpose(0, 1)  # the module's native order, positions first, is also its quickest
        total = torch.zeros_like(inside)
        for head in self.heads:
            total = total + head(inside, inside, inside, attn_mask=self.mask, is_causal=True)[0]
        logits: Tensor = self.unembedding(residual + self.expand(total.transpose(0, 1)))
        return logits


@dataclass(frozen=True)
class BaselineRun:
    """What one model of the rival did: seconds of the training loop, optimiser steps, accuracy over the window."""

    seconds: float
    steps: int
    notebook_accuracy: float


def train_baseline(
    sequences: np.ndarray,
    targets: np.ndarray,
    vocab_size: int,
    *,
    embed_dim: int,
    num_heads: int,
    head_dim: int,
    seed: int,
    batch_size: int = 256,
    num_batches: int = 64,
    epochs: int = 64,
    max_steps: int | None = None,
    accuracy_window: int = 100,
) -> BaselineRun:
    """Train one model with the notebook's loop, for at most `max_steps` optimiser steps if that is given."""
    torch.manual_seed(seed)
    model = NotebookModel(vocab_size, sequences.shape[1], embed_dim, num_heads, head_dim)
    drawn = torch.randint(len(targets), (batch_size * num_batches,))
    draws, labels = torch.as_tensor(sequences)[drawn], torch.as_tensor(targets)[drawn]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=0.1, end_factor=0.005, total_iters=epochs - 1)
    accuracies: list[float] = []
    start = perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for batch in order.view(num_batches, batch_size):
            logits = model(draws[batch])
            log_probs = torch.log(torch.softmax(torch.log_softmax(logits[:, -1], dim=-1), dim=-1) + 1e-12)
            loss = nn.functional.nll_loss(log_probs, labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            accuracies.append(float((logits[:, -1].argmax(-1) == labels[batch]).float().mean()))
            if len(accuracies) == max_steps:
                break
        if len(accuracies) == max_steps:
            break
        scheduler.step()
    seconds = perf_counter() - start
    return BaselineRun(seconds, len(accuracies), float(np.mean(accuracies[-accuracy_window - 1 : -1])))
