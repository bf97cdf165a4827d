"""Certificates and margins of hop models: true where they say so, refused where a weight, a map or a scale is not right."""

import dataclasses
import functools
import itertools
import json
import math

import numpy as np
import pytest
import torch

from constructions import hops
from constructions._certificate_files import CertificateFileError
from constructions._hops_scores import score_facts
from constructions.element_wise import ElementWise, Step
from constructions.hops import HopCertificate, Inequality, build, certify_hops, margins, recheck
from theory.hop_precision import least_scale, range_limits
from theory.hop_strings import random_strings
from theory.hops import hop

VARIANTS = [("A", "quadratic"), ("B", "quadratic"), ("C", "quadratic"), ("A", "circle"), ("B", "circle")]
DTYPES = [torch.float32, torch.float64]


def all_strings(vocab_size, seq_len):
    return np.array(list(itertools.product(range(vocab_size), repeat=seq_len)))


def built_model(recipe="A", encoding="quadratic", dtype=torch.float32, scale=None, **sizes):
    wanted = {"num_hops": 5, "vocab_size": 3, "seq_len": 7} | sizes
    return build(**wanted, recipe=recipe, encoding=encoding, dtype=dtype, scale=scale)


@functools.cache
def certificate_of(recipe="A"):
    return certify_hops(built_model(recipe))


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_certified_is_true_on_every_string_even_at_the_least_scale(recipe, encoding, dtype):
    for vocab_size, seq_len in ((2, 10), (3, 6), (5, 4)) if dtype == torch.float32 else ((3, 6),):
        scale = least_scale(seq_len, vocab_size, str(dtype).removeprefix("torch."), recipe, encoding)
        built = built_model(recipe, encoding, dtype, scale, vocab_size=vocab_size, seq_len=seq_len)
        assert certify_hops(built).proved
        strings = all_strings(vocab_size, seq_len)
        assert (built.predict(strings) == hop(strings, 5)).all()


@pytest.mark.parametrize(("recipe", "encoding"), [variant for variant in VARIANTS if variant[0] != "C"])
def test_models_that_read_k_are_certified_for_every_k(recipe, encoding):
    built = build(max_hops=6, vocab_size=2, seq_len=7, recipe=recipe, encoding=encoding, dtype=torch.float32)
    certificate = certify_hops(built)
    assert certificate.proved and certificate.statement.startswith("for every k from 0 to 6, every string of 7 symbols out of 2")
    strings = all_strings(2, 7)
    assert all((built.predict(strings, k) == hop(strings, k)).all() for k in range(7))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("recipe", "seq_len", "vocab_size"), [("A", 512, 26), ("B", 300, 4), ("C", 256, 4)])
def test_sizes_of_use_are_certified(recipe, seq_len, vocab_size, dtype):
    certificate = certify_hops(built_model(recipe, dtype=dtype, num_hops=31, vocab_size=vocab_size, seq_len=seq_len))
    assert certificate.proved and certificate.failures == ()
    assert "proved" in certificate.text()


@pytest.mark.parametrize("recipe", ["A", "B", "C"])
@pytest.mark.parametrize("name", ["token_embedding", "position_embedding", "query", "key", "value", "output", "unembedding"])
def test_no_single_weight_may_change(recipe, name):
    built, certificate = built_model(recipe), certificate_of(recipe)
    generator = np.random.default_rng(0)
    weights = getattr(built.model, name)
    for _ in range(2):
        place = tuple(int(generator.integers(size)) for size in weights.shape)
        before = weights[place].item()
        weights[place] = before + 0.5
        again = certify_hops(built)
        assert not again.proved and again.weights != certificate.weights
        assert f"weights: {name}" in {each.name for each in again.failures}
        weights[place] = before
    assert certify_hops(built) == certificate
    weights[place] += 0.5
    assert {f"weights: {name}", "weights"} <= set(recheck(certificate, built))


def test_a_weaker_query_is_seen_in_the_numbers_not_only_in_the_comparison():
    built = built_model(scale=16.0)
    built.model.query[2, 0] /= 16
    certificate = certify_hops(built)
    failed = {each.name: each for each in certificate.failures}
    arrival = failed["layer 3, head 0, look-up: arrival"]
    assert arrival.left > 0.5 and not arrival.holds
    gap = next(each for each in certificate.inequalities if each.name == "layer 3, head 0, look-up: gap")
    assert gap.left == 1.0
    assert recheck(certify_hops(built_model(scale=16.0)), built)


def test_a_head_that_reads_what_it_should_not_is_named():
    built = built_model("B")
    built.model.key[1, 0, 4, 0] += 1  # the last match reads the symbol too
    failed = {each.name for each in certify_hops(built).failures}
    assert {"weights: key", "layer 2, head 0, last match: reads"} <= failed


def test_a_changed_map_is_refused():
    built = built_model()
    steps = list(built.model.maps[1].steps)
    steps[0] = Step(steps[0].target, "linear", steps[0].sources, (2.0, 0.0))
    built.model.maps = (built.model.maps[0], ElementWise(tuple(steps)), *built.model.maps[2:])
    assert [each.name for each in certify_hops(built).failures] == ["programs"]
    assert "programs" in recheck(certificate_of(), built)


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
def test_a_scale_that_is_too_small_is_not_certified_and_errs(recipe, encoding):
    weak = built_model(recipe, encoding, vocab_size=2, seq_len=10).with_scale(1.0)
    certificate = certify_hops(weak)
    assert not certificate.proved
    assert "not proved" in certificate.text() and certificate.failures[0].name in certificate.text()
    strings = all_strings(2, 10)
    assert (weak.predict(strings) != hop(strings, 5)).any()


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
def test_scores_that_overflow_are_not_certified(recipe, encoding):
    built = built_model(recipe, encoding, vocab_size=2, seq_len=10, dtype=torch.float32)
    factor = 2.0 ** (128 - math.frexp(float(built.model.query.abs().max()))[1])  # the weights themselves are still finite
    huge = dataclasses.replace(built, model=built.model.to_dtype(torch.float32), scale=built.scale * factor)
    with torch.no_grad():
        huge.model.query.mul_(factor)
    assert huge.model.query.isfinite().all()
    assert [each.name for each in certify_hops(huge).failures] == ["scale: overflow"]
    if encoding == "quadratic":  # on circles no coordinate exceeds 1: there the bound, over all of the stream, is not tight
        assert (huge.predict(all_strings(2, 10)) != hop(all_strings(2, 10), 5)).any()
    with pytest.raises(ValueError, match=r"below 2\^64 is legal"):
        built.with_scale(2.0**64)


def test_on_circles_a_scale_that_rounds_is_not_certified():
    odd = built_model("A", "circle", vocab_size=2, seq_len=10).with_scale(1000.0)
    assert [each.name for each in certify_hops(odd).failures] == ["scale: power of two"]


def test_a_map_of_another_class_is_refused():
    class Other(ElementWise):
        def __call__(self, stream):
            return torch.zeros_like(stream)

    built = built_model()
    built.model.maps = (Other(built.model.maps[0].steps), *built.model.maps[1:])
    assert [each.name for each in certify_hops(built).failures] == ["programs"]


@pytest.mark.parametrize(("primitive", "layer", "head", "limit"), [
    ("look-up", 0, 0, "look-up"), ("last match", 1, 0, "last match"), ("pair", 3, 0, "pair"),
])  # fmt: skip
def test_sums_of_terms_from_the_weights_are_those_of_the_range_limits(primitive, layer, head, limit):
    built = built_model("B", num_hops=5, seq_len=23, vocab_size=5)
    lines = {each.name: each for each in certify_hops(built).inequalities}
    line = lines[f"layer {layer + 1}, head {head}, {primitive}: exact scores"]
    limits = {each.name: each for each in range_limits(23, 5, "float32", "B")}
    assert line.left == limits[limit].value and line.right == limits[limit].bound
    assert lines[f"layer {layer + 1}, head {head}, {primitive}: gap"].left == 128


def test_score_facts_see_a_tie_that_is_none_and_a_gap_that_is_not_there():
    names = ("one", "x", "xx", "e")
    query = np.array([[0, -1.0, 0], [2, 0, 0], [0, 0, 1], [0, 0, 0]])
    key = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    reads = (("x", "one", "xx"), ("x", "xx", "e"))
    good = score_facts("count", query, key, names, reads, 5, 3, False)
    assert (good.unread, good.gap, good.tie) == (0, 1.0, 0.0)
    key[3, 2] = 0.5
    assert score_facts("count", query, key, names, reads, 5, 3, False).tie == 4.5
    key[1, 0] = 0
    assert score_facts("count", query, key, names, reads, 5, 3, False).gap < 0


def test_certificates_come_back_from_files(tmp_path):
    built = built_model("B", "circle")
    certificate = certify_hops(built)
    certificate.save(tmp_path / "proof.json")
    again = HopCertificate.load(tmp_path / "proof.json")
    assert again == certificate and recheck(again, built) == ()
    other = built_model("B", "circle", scale=64.0)
    assert {"built", "weights"} <= set(recheck(again, other))


@pytest.mark.parametrize(("part", "change"), [("left", 3.0), ("right", 0.25), ("relation", ">"), ("why", "because")])
def test_what_was_changed_in_a_file_is_named(part, change, tmp_path):
    built, place = built_model(), tmp_path / "proof.json"
    certificate_of().save(place)
    content = json.loads(place.read_text())
    line = content["inequalities"][-4]
    line[part] = change
    lines = [{name: value for name, value in each.items() if name != "holds"} for each in content["inequalities"]]
    content["proved"] = all(Inequality(**each).holds for each in lines)
    place.write_text(json.dumps(content))
    assert line["name"] in recheck(HopCertificate.load(place), built)
    place.write_text(json.dumps(content | {"proved": not content["proved"]}))
    with pytest.raises(CertificateFileError, match="verdict"):
        HopCertificate.load(place)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "headcount hop certificate, version 1"}', "{" * 2000])
def test_files_that_are_no_certificates_are_refused(text, tmp_path):
    place = tmp_path / "proof.json"
    place.write_text(text)
    with pytest.raises(CertificateFileError):
        HopCertificate.load(place)
    with pytest.raises(CertificateFileError):
        HopCertificate.load(tmp_path / "none.json")


def test_a_certificate_needs_a_folder(tmp_path):
    with pytest.raises(CertificateFileError):
        certificate_of().save(tmp_path / "no folder" / "proof.json")


def test_relations_are_what_they_say():
    for relation, wanted in {"<": "100", "<=": "110", ">": "001", ">=": "011", "=": "010"}.items():
        assert "".join(str(int(Inequality("", left, relation, 1, "").holds)) for left in (0, 1, 2)) == wanted
        assert not Inequality("", float("nan"), relation, 1, "").holds


@pytest.mark.parametrize(("recipe", "encoding"), VARIANTS)
def test_margins_seen_are_within_those_proved(recipe, encoding):
    built = built_model(recipe, encoding, torch.float64, num_hops=6, vocab_size=3, seq_len=24)
    strings = random_strings(3, 24, 8, repeats=True, generator=np.random.default_rng(0))
    report = margins(built, strings)
    assert report.num_strings == 8 and len(report.rows) == sum(role.role != "idle" for role in built.roles)
    for row in report.rows:
        assert row.gap_seen >= row.gap_proved * (1 - 1e-9)
        assert row.gap_exact >= row.gap_proved > 0
        assert row.leak_seen <= row.leak * (1 + 1e-9)
    assert report.scale_seen <= report.sufficient_scale <= built.scale
    assert (built.with_scale(report.scale_seen).predict(strings) == hop(strings, 6)).all()
    assert (built.with_scale(report.scale_seen / 1.002).predict(strings) != hop(strings, 6)).any()
    if encoding == "quadratic":
        assert min(row.gap_seen for row in report.rows) == report.smallest_gap == 1024


def test_leaked_mass_is_measured_where_there_is_some():
    weak = built_model(num_hops=1, vocab_size=2, seq_len=12, dtype=torch.float64).with_scale(2.0)
    strings = random_strings(2, 12, 5, repeats=True, generator=np.random.default_rng(0))
    report = margins(weak, strings)
    maps = weak.model.attention_maps(torch.from_numpy(weak.task.tokens(strings, 1)))
    assert report.rows[0].leak_seen == pytest.approx(float((1 - maps[0].max(-1).values).max()))
    assert 0.1 < report.rows[0].leak_seen <= report.rows[0].leak <= report.largest_leak
    assert report.rows[0].gap_seen == 2.0


def test_margins_without_strings_hold_for_all_of_them():
    report = margins(built_model("B", seq_len=64, vocab_size=4))
    assert report.num_strings == 0 and np.isnan(report.scale_seen)
    assert all(np.isnan(row.gap_seen) and row.gap_proved == 128 for row in report.rows)
    assert report.sufficient_scale == 8 and report.smallest_gap == 128


def test_a_model_that_is_wrong_has_no_exact_scale():
    built = built_model()
    built.model.unembedding.zero_()
    assert margins(built, np.array([[0, 1, 2, 0, 1, 2, 0]])).scale_seen == np.inf


def test_the_frozen_construction_stays_as_it_is():
    built = built_model()
    before = built.model.query.clone()
    half = built.with_scale(built.scale / 2)
    assert torch.equal(built.model.query, before) and torch.equal(half.model.query * 2, before)
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.scale = 1.0
    with pytest.raises(ValueError, match=r"scale = 0.0"):
        hops.HopConstruction.with_scale(built, 0.0)


@pytest.mark.parametrize("recipe", ["A", "B", "C"])
def test_half_of_the_least_scale_is_not_certified(recipe):
    least = least_scale(7, 3, "float32", recipe)
    assert certify_hops(built_model(recipe, scale=least)).proved
    assert not certify_hops(built_model(recipe).with_scale(least / 2)).proved
