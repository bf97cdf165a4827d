"""The factual recall task, and the attention that finds subject and relation among noise; for both memories that are built on it.

A prompt is `prompt_len` tokens, one a subject, one a relation, at random places, the rest noise, and then an end token. The
answer a(s, r) is one of the `num_answers` that only relation r has. One prompt is drawn per fact.
"""

from dataclasses import dataclass

import numpy as np
import torch

from constructions.aot import AttentionOnlyTransformer
from constructions.rivals._associative import unit_vectors
from theory.shapes import checked_integer
from theory.tasks import AssociationTask

SHARPNESS = 200.0
"""Scale of the scores: a lead of 1/2, the design's, weighs e^100; any larger number gives the same attention."""


@dataclass(frozen=True)
class FactualRecall:
    """Sizes of the task; tokens are numbered subjects, relations, answers (relation by relation), noise, end.

    Attributes:
        num_subjects: S.
        num_relations: R.
        num_answers: D, answers of each relation; no two relations share one.
        prompt_len: tokens before the end token, at least 2.
        num_noise: noise tokens of the vocabulary.
    """

    num_subjects: int
    num_relations: int
    num_answers: int
    prompt_len: int = 4
    num_noise: int = 8

    def __post_init__(self) -> None:
        for name, least in (("num_subjects", 1), ("num_relations", 1), ("num_answers", 1), ("prompt_len", 2), ("num_noise", 1)):
            object.__setattr__(self, name, checked_integer(name, getattr(self, name), least))

    @property
    def first_answer(self) -> int:
        """Number of the first answer token."""
        return self.num_subjects + self.num_relations

    @property
    def all_answers(self) -> int:
        """R D, answers of all relations together."""
        return self.num_relations * self.num_answers

    @property
    def vocab_size(self) -> int:
        """All tokens, the end token last."""
        return self.first_answer + self.all_answers + self.num_noise + 1

    def draw(self, seed: int) -> AssociationTask:
        """S R prompts with uniform answers, one per fact, subject by subject."""
        generator = np.random.default_rng((seed, 3))
        facts = self.num_subjects * self.num_relations
        subjects, relations = np.divmod(np.arange(facts), self.num_relations)
        noise = self.first_answer + self.all_answers + generator.integers(self.num_noise, size=(facts, self.prompt_len))
        places = generator.permuted(np.tile(np.arange(self.prompt_len), (facts, 1)), axis=1)
        noise[np.arange(facts), places[:, 0]] = subjects
        noise[np.arange(facts), places[:, 1]] = self.num_subjects + relations
        prompts = np.column_stack((noise, np.full(facts, self.vocab_size - 1)))
        answers = self.first_answer + relations * self.num_answers + generator.integers(self.num_answers, size=facts)
        return AssociationTask(prompts, answers, self.vocab_size, f"factual recall, {self}")

    def heads_needed(self, head_dim: int) -> int:
        """Heads when each looks after head_dim subjects, or head_dim relations."""
        head_dim = checked_integer("head_dim", head_dim, 1)
        return -(-self.num_subjects // head_dim) - (-self.num_relations // head_dim)

    def check_heads(self, head_dim: int, num_heads: int) -> int:
        """num_heads, when they are enough for one subject or relation per dimension.

        Raises:
            ValueError: too few heads.
        """
        least = self.heads_needed(head_dim)
        num_heads = checked_integer("num_heads", num_heads, 1)
        if num_heads < least:
            raise ValueError(
                f"num_heads = {num_heads}: at least {least} are legal, as each of the {self.num_subjects} subjects and"
                f" {self.num_relations} relations gets a dimension of a head (H d_h >= S + R)"
            )
        return num_heads


def embeddings(recall: FactualRecall, embed_dim: int, seed: int) -> np.ndarray:
    """Token embeddings (vocab, d): random unit vectors; coordinate 0 is the end token's alone, so that it disturbs nothing."""
    vectors = np.zeros((recall.vocab_size, embed_dim))
    vectors[:-1, 1:] = unit_vectors(np.random.default_rng((seed, 4)), recall.vocab_size - 1, embed_dim - 1)
    vectors[-1, 0] = 1.0
    return vectors


def finder(
    recall: FactualRecall, vectors: np.ndarray, writes: np.ndarray, head_dim: int, num_heads: int, seq_len: int
) -> AttentionOnlyTransformer:
    """The transformer whose heads attend to the subject (relation) when it is theirs, else to the end token, and then write.

    Head h looks after up to d_h tokens: its key is the sum of their embeddings, and half the end token's; its value-output
    matrix is the sum of outer products embedding -> written vector over its tokens, so it has rank d_h.

    Args:
        recall: the task's sizes.
        vectors: embeddings of all tokens, (vocab, d).
        writes: what is written for each subject and then each relation, (S + R, d).
        head_dim: d_h.
        num_heads: H; heads beyond those needed stay zero.
        seq_len: tokens of a prompt, the end token included.
    """
    embed_dim = vectors.shape[1]
    model = AttentionOnlyTransformer(recall.vocab_size, seq_len, embed_dim, num_heads, head_dim)
    kinds = np.arange(recall.num_subjects), np.arange(recall.num_subjects, recall.first_answer)
    groups = [kind[start : start + head_dim] for kind in kinds for start in range(0, len(kind), head_dim)]
    with torch.no_grad():
        model.token_embedding.copy_(torch.from_numpy(vectors))
        for head, group in enumerate(groups):
            model.query[head, 0, 0] = SHARPNESS
            model.key[head, :, 0] = torch.from_numpy(vectors[group].sum(axis=0) + 0.5 * vectors[-1])
            model.value[head, :, : len(group)] = torch.from_numpy(vectors[group].T.copy())
            model.output[head, : len(group)] = torch.from_numpy(writes[group])
    return model
