"""Accuracies that the paper published with its code (on training draws, means over 5 repetitions), where claims need more of them
than `empirical/published.csv` holds. Dana, Pydi and Chevaleyre 2025, data files of experiments 1, 2 and 3; N = 50, S = 2, rounded
to four decimals."""

VOCAB_SIZE = 50
ROUNDING = 5e-5
"""Of every accuracy here and in `empirical/published.csv`."""

HEADS = (1, 6, 11, 16, 21, 26, 31)
EXPERIMENT_1: dict[int, tuple[float, ...]] = {
    3: (0.0586, 0.0652, 0.0758, 0.0856, 0.0879, 0.0950, 0.0973),
    4: (0.0678, 0.0904, 0.1143, 0.1257, 0.1463, 0.1596, 0.1737),
    5: (0.0738, 0.1193, 0.1582, 0.1922, 0.2248, 0.2572, 0.2936),
    6: (0.0856, 0.1536, 0.2103, 0.2659, 0.3138, 0.3753, 0.4232),
    7: (0.1005, 0.1887, 0.2634, 0.3443, 0.4313, 0.5125, 0.5913),
    8: (0.1121, 0.2311, 0.3348, 0.4450, 0.5596, 0.6628, 0.7833),
    9: (0.1217, 0.2758, 0.4133, 0.5523, 0.6960, 0.8337, 0.9384),
    10: (0.1298, 0.3243, 0.5063, 0.6852, 0.8608, 0.9634, 0.9974),
    11: (0.1401, 0.3710, 0.5866, 0.8020, 0.9618, 0.9986, 0.9998),
    12: (0.1471, 0.4359, 0.6792, 0.9174, 0.9966, 0.9999, 0.9999),
    13: (0.1626, 0.4820, 0.7745, 0.9882, 0.9998, 1.0000, 0.9999),
}
"""By d = d_h, one accuracy for each of HEADS."""

HEAD_DIMS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
EXPERIMENT_2 = (0.0815, 0.1096, 0.1554, 0.2094, 0.2879, 0.3567, 0.4534, 0.5457, 0.6391, 0.8044)
"""By d_h, d = 10, H = 20; one map R^10 -> R^{d_h} shared by all heads, none for d_h = 10."""

EMBED_DIMS = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
EXPERIMENT_3 = (0.2639, 0.3621, 0.4600, 0.5782, 0.6972, 0.8087, 0.7769, 0.7890, 0.7855, 0.8118, 0.8136)
"""By d, d_h = 10, H = 20; one map R^d -> R^10 shared by all heads, none for d = 10."""
