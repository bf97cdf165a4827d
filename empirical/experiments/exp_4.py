"""Experiment 4: the slope of memory in the number of heads, against d = d_h; its models are those of experiment 1."""

from dataclasses import replace

from empirical.experiments import exp_1
from empirical.experiments.experiment import PAPER

EXPERIMENT = replace(
    exp_1.EXPERIMENT,
    name="exp_4",
    title="Memory per head against d = d_h",
    question="How does the memory that one more head adds grow with d = d_h? (See `empirical.experiments.slopes`.)",
    paper_says="It is cubic: a log-log slope of 3 through d = 3 to 13, each slope from least squares on the points up to the "
    "first accuracy above .95. (The README: between H d_h d and H d_h d^2, that is 2 to 3.)",
    source=f"{PAPER}, experiment 4",
)
