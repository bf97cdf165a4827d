"""The three recipes for hop_k, as plans with named coordinates: which head attends where, and what each map then writes.

Coordinates: one = 1, i the position, ii its square, e = 1 at the start, x the symbol's code (1..S, 0 at the start), xx its
square, s the code of the symbol before (0 at the start and at position 1), ss its square, y the answer's code; u0.. what heads
bring, cleared by the map that reads them. All are whole numbers, which maps restore by rounding; recipe C never rounds.
"""

import math

from constructions._hops_layout import Form, Head, Plan, Program
from theory.hop_precision import Encoding, head_scale
from theory.hops import HopTask, Recipe, layers_needed

ARRIVALS = ("u0", "u1", "u2")


class Writer:
    """Heads and map pieces that the recipes share, for one size, encoding and scale."""

    def __init__(self, task: HopTask, encoding: Encoding, scale: float) -> None:
        self.n, self.s, self.circle = task.seq_len, task.vocab_size, encoding == "circle"
        self.encoding, self.scale = encoding, scale
        self.position_frequency = 2 * math.pi / (self.n + 1)
        self.match_frequency = math.pi / (self.n * (self.s + 1))
        self.symbol_frequency = 2 * math.pi / (self.s + 1)

    def coordinates(self) -> tuple[str, ...]:
        """What every recipe has; on circles also points of positions, symbols and looked-up positions."""
        shared = ("one", "i", "ii", "e", "x", "xx", "s", "ss", "y")
        circle = ("ci", "si", "cb", "sb", "angle", "cx", "sx", "cs", "sn", "ct", "st", "nil")
        return shared + circle if self.circle else shared

    def position(self) -> dict[str, list[float]]:
        """What depends on the position alone; on circles the points of i and of the position before."""
        places = [float(i) for i in range(self.n + 1)]
        features = {"one": [1.0] * (self.n + 1), "i": places, "ii": [i * i for i in places]}
        if self.circle:
            angles = [self.position_frequency * i for i in places]
            before = [self.position_frequency * (i - 1) for i in places]
            features |= {"ci": [math.cos(a) for a in angles], "si": [math.sin(a) for a in angles]}
            features |= {"cb": [math.cos(a) for a in before], "sb": [math.sin(a) for a in before]}
        return features

    def symbol(self) -> dict[str, list[float]]:
        codes = [float(v) for v in range(1, self.s + 1)]
        return {"x": codes, "xx": [v * v for v in codes]}

    def previous(self, value: tuple[Form, ...], targets: tuple[tuple[str, ...], ...]) -> Head:
        """Look-up of i - 1."""
        scale = head_scale("look-up", self.encoding, self.n, self.s, self.scale)
        if self.circle:
            query: tuple[Form, ...] = ({"cb": scale}, {"sb": scale})
        else:
            query = ({"i": 2 * scale, "one": -2 * scale}, {"one": -scale})
        return Head("previous token", "look-up", query, self._position_key(), value, targets)

    def lookup(
        self, target: str, value: tuple[Form, ...], targets: tuple[tuple[str, ...], ...], hops: int | None, on: str = "one"
    ) -> Head:
        """Look-up of the position in the coordinate `target`, or on circles at the point (ct, st); `on` is 1, or 0 to be off."""
        scale = head_scale("look-up", self.encoding, self.n, self.s, self.scale)
        query: tuple[Form, ...] = ({"ct": scale}, {"st": scale}) if self.circle else ({target: 2 * scale}, {on: -scale})
        return Head("find", "look-up", query, self._position_key(), value, targets, hops)

    def _position_key(self) -> tuple[Form, ...]:
        return ({"ci": 1.0}, {"si": 1.0}) if self.circle else ({"i": 1.0}, {"ii": 1.0})

    def last_match(self, value: tuple[Form, ...], targets: tuple[tuple[str, ...], ...]) -> Head:
        """The latest j <= i whose predecessor is x_i, else the start: find^1."""
        scale = head_scale("last match", self.encoding, self.n, self.s, self.scale)
        if self.circle:
            half_behind = math.cos(self.match_frequency * (self.n - 0.5))
            query: tuple[Form, ...] = ({"cx": scale}, {"sx": scale}, {"one": scale})
            key: tuple[Form, ...] = ({"cs": 1.0}, {"sn": 1.0}, {"e": half_behind})
        else:
            base = float(self.n + 1)
            query = ({"x": 2 * base * scale}, {"one": scale}, {"one": -base * scale}, {"xx": base * scale})
            key = ({"s": 1.0}, {"i": 1.0}, {"ss": 1.0}, {"e": 1.0})
        return Head("find", "last match", query, key, value, targets, 1)

    def pair(self, value: tuple[Form, ...], targets: tuple[tuple[str, ...], ...], hops: int | None, on: str = "one") -> Head:
        """The j whose predecessor is the symbol a for the b-th time; a = b = 0 asks for the start."""
        scale = head_scale("pair", self.encoding, self.n, self.s, self.scale)
        if self.circle:
            query: tuple[Form, ...] = tuple({name: scale} for name in ("ca", "sa", "cr", "sr"))
            key: tuple[Form, ...] = tuple({name: 1.0} for name in ("ks", "ls", "kq", "lq"))
        else:
            query = ({"a": 2 * scale}, {"b": 2 * scale}, {on: -scale})
            key = ({"s": 1.0}, {"q": 1.0}, {"w": 1.0})
        return Head("find", "pair", query, key, value, targets, hops)

    def count(self, target: str) -> Head:
        """Brings 1 / (1 + rank of i among the equal symbols up to i); 1 at the start."""
        scale = head_scale("count", self.encoding, self.n, self.s, self.scale)
        query: tuple[Form, ...] = ({"x": 2 * scale}, {"one": -scale}, {"xx": scale})
        return Head("rank", "count", query, ({"x": 1.0}, {"xx": 1.0}, {"e": 1.0}), ({"e": 1.0},), ((target,),))

    def broadcast(self, source: str, target: str) -> Head:
        """Brings a coordinate of the start."""
        scale = head_scale("broadcast", self.encoding, self.n, self.s, self.scale)
        return Head("broadcast", "broadcast", ({"one": scale},), ({"e": 1.0},), ({source: 1.0},), ((target,),))

    def previous_symbol(self, program: Program) -> None:
        """Writes s, ss and what the last match reads, from what arrived in u0."""
        program.round("s", "u0")
        program.product("ss", "s", "s")
        if self.circle:  # symbols 2N units apart, positions one
            for symbol, cosine, sine in (("x", "cx", "sx"), ("s", "cs", "sn")):
                program.linear("angle", {symbol: 2.0 * self.n, "i": 1.0})
                program.point(cosine, sine, "angle", self.match_frequency)
            program.select("cs", "e", "nil", "cs")  # the start's key is a constant of its own
            program.select("sn", "e", "nil", "sn")

    def aim(self, program: Program, target: str) -> None:
        """Writes the point that the next look-up reads."""
        if self.circle:
            program.point("ct", "st", target, self.position_frequency)


def bits_of(number: int, width: int) -> list[int]:
    """Binary digits, the most significant first."""
    return [number >> shift & 1 for shift in range(width - 1, -1, -1)]


def recipe_a(task: HopTask, encoding: Encoding, scale: float, multi_task: bool) -> Plan:
    """Recipe A: (p, c) = (find^n, find^{n+1}) with y the symbol at c; a layer looks up p or c and copies p, c and y from there.

    n runs through the leading digits of k - 1. In the multi-task form the map takes one digit a layer from the register `rest`,
    which starts as (k - 1) / 2^(L-2), is doubled and floored; `keep` is 1 where k = 0 and the answer is x itself. All its
    doubling layers are one and the same.
    """
    writer = Writer(task, encoding, scale)
    depth = layers_needed(task.max_hops, "A")
    digits = bits_of(task.max_hops - 1, depth - 2) if task.max_hops else []
    own = ("p", "c", *ARRIVALS) + (("k", "rest", "bit", "keep", "t", "end", "zero") if multi_task else ())
    names = writer.coordinates() + own
    arrives = tuple((name,) for name in ARRIVALS)
    layers = [[writer.previous(({"x": 1.0},), (("u0",),))], [writer.last_match(({"i": 1.0}, {"x": 1.0}), arrives[:2])]]
    programs = [Program(names) for _ in range(depth)]
    first, second = programs[:2]
    writer.previous_symbol(first)
    first.clear("u0")
    if multi_task:
        layers[0].append(writer.broadcast("k", "u1"))
        first.round("k", "u1")
        first.clear("u1")
        first.select("keep", "k", "zero", "one")
        first.linear("rest", {"k": 2.0 ** (2 - depth), "one": -(2.0 ** (2 - depth)), "keep": 2.0 ** (2 - depth)})
    second.copy("p", "i")
    second.round("c", "u0")
    second.round("end" if multi_task else "y", "u1")
    done = 0
    for layer in range(2, depth):
        bit = digits[layer - 2]
        hops = None if multi_task else done + bit
        brought: tuple[Form, ...] = ({"p": 1.0}, {"c": 1.0}, {"end" if multi_task else "y": 1.0})
        layers.append([writer.lookup("t" if multi_task else ("p", "c")[bit], brought, arrives, hops)])
        for target, source in zip(("p", "c", "end" if multi_task else "y"), ARRIVALS, strict=True):
            programs[layer].round(target, source)
        done = 2 * done + bit
    for layer in range(1, depth):
        program = programs[layer]
        program.clear(*ARRIVALS)
        if multi_task:
            _next_digit(program)
            program.select("t", "bit", "c", "p")
            program.select("y", "keep", "x", "end")
            writer.aim(program, "t")
        elif layer < depth - 1:
            writer.aim(program, ("p", "c")[digits[layer - 1]])
    start = {"e": [1.0] * task.symbol_tokens} | ({"k": _hops(task)} if multi_task else {})
    return Plan(names, writer.symbol(), start, writer.position(), layers, programs, "y")


def recipe_b(task: HopTask, encoding: Encoding, scale: float, multi_task: bool) -> Plan:
    """Recipe B: f = find^m with y the symbol at f and c its rank; digit 0 looks up f, digit 1 the position behind the occurrence
    of y before f, which is find^{m+1} without knowing find^1 there; both copy f, y and c from where they attend.

    m runs through the leading digits of k. (a, b) is the pair asked for, (s, q) the pair of every position: the symbol before,
    and its rank there; position 1, behind the start, has the rank 1 of no symbol, so that (0, 0) is the start's alone.
    """
    writer = Writer(task, encoding, scale)
    depth, circle = layers_needed(task.max_hops, "B"), encoding == "circle"
    digits = bits_of(task.max_hops, depth - 1)
    own: tuple[str, ...] = ("rank", "q", "w", "f", "c", "a", "b", "end", "zero", *ARRIVALS, "u3")
    own += ("ca", "sa", "cr", "sr", "ks", "ls", "kq", "lq") if circle else ()
    own += ("k", "rest", "bit", "keep", "look", "same", "other", "t") if multi_task else ()
    names = writer.coordinates() + own
    arrives = tuple((name,) for name in ARRIVALS)
    brought: tuple[Form, ...] = ({"f": 1.0}, {"end": 1.0}, {"c": 1.0})
    layers = [
        [writer.previous(({"x": 1.0},), (("u0",),)), writer.count("u1")],
        [writer.last_match(({"i": 1.0}, {"x": 1.0}, {"rank": 1.0}), arrives),
         writer.previous(({"rank": 1.0, "e": 1.0},), (("u3",),))],
    ]  # fmt: skip
    programs = [Program(names) for _ in range(depth)]
    first, second = programs[:2]
    writer.previous_symbol(first)
    first.reciprocal("rank", "u1")
    first.linear("rank", {"rank": 1.0}, -1.0)
    first.round("rank", "rank")
    first.clear("u0", "u1")
    if multi_task:
        layers[0].append(writer.broadcast("k", "u2"))
        first.round("k", "u2")
        first.clear("u2")
        first.linear("rest", {"k": 2.0 ** (1 - depth)})
    for target, source in zip(("f", "end", "c", "q"), (*ARRIVALS, "u3"), strict=True):
        second.round(target, source)
    second.linear("q", {"q": 1.0, "e": -1.0})
    second.linear("w", {"ss": 1.0})
    second.product("u3", "q", "q")
    second.linear("w", {"w": 1.0, "u3": 1.0})
    second.clear("u3")
    if circle:
        second.point("ks", "ls", "s", writer.symbol_frequency)
        second.point("kq", "lq", "q", writer.position_frequency)
    if multi_task:
        _next_digit(second)
        for target, own_name in (("f", "i"), ("end", "x"), ("c", "rank")):
            second.select(target, "bit", target, own_name)
    done = 1
    for layer in range(2, depth):
        bit = digits[layer - 1]
        if multi_task:
            layers.append([_either(writer, brought, arrives)])
        elif bit:
            layers.append([writer.pair(brought, arrives, done + 1)])
        else:
            layers.append([writer.lookup("f", brought, arrives, done)])
        for target, source in zip(("f", "end", "c"), ARRIVALS, strict=True):
            programs[layer].round(target, source)
        done = 2 * done + bit
    for layer in range(1, depth):
        program = programs[layer]
        program.clear(*ARRIVALS)
        _ask(writer, program, multi_task)
        program.copy("y", "end")
    start = {"e": [1.0] * task.symbol_tokens} | ({"k": _hops(task)} if multi_task else {})
    return Plan(names, writer.symbol(), start, writer.position(), layers, programs, "y")


def _ask(writer: Writer, program: Program, multi_task: bool) -> None:
    """Writes what the next layer's query reads: the position f, the pair (a, b) = (y, c - 1), or (0, 0) where c <= 1."""
    program.linear("b", {"c": 1.0}, -1.0)
    program.select("a", "b", "end", "zero")
    program.select("b", "b", "b", "zero")
    if multi_task:
        _next_digit(program)
        program.linear("look", {"one": 1.0, "bit": -1.0})
        program.product("t", "f", "look")
        program.product("a", "a", "bit")
        program.product("b", "b", "bit")
    if writer.circle:
        writer.aim(program, "f")
        program.point("ca", "sa", "a", writer.symbol_frequency)
        program.point("cr", "sr", "b", writer.position_frequency)
        if multi_task:
            for name in ("ct", "st"):
                program.product(name, name, "look")
            for name in ("ca", "sa", "cr", "sr"):
                program.product(name, name, "bit")


def _either(writer: Writer, value: tuple[Form, ...], targets: tuple[tuple[str, ...], ...]) -> Head:
    """Look-up and pair side by side in one head; the map zeroes the query of the one that is not asked."""
    look, pair = writer.lookup("t", value, targets, None, on="look"), writer.pair(value, targets, None, on="bit")
    return Head("find", "look-up", look.query + pair.query, look.key + pair.key, value, targets, beside=("pair",))


def _next_digit(program: Program) -> None:
    program.linear("rest", {"rest": 2.0})
    program.floor("bit", "rest")
    program.linear("rest", {"rest": 1.0, "bit": -1.0})


def _hops(task: HopTask) -> list[float]:
    return [float(k) for k in range(task.min_hops, task.max_hops + 1)]


def recipe_c(task: HopTask, scale: float) -> Plan:
    """Recipe C: no maps. p = find^(2^r) with t its symbol, c the part of the answer done, with y its symbol.

    A head that attends to position j = p brings p_j - j and t_j - x_j; p_i + (p_j - j) = p_j, exactly, because p_i is j, and
    t_i is x_j: new less old, where the old one is known to the attended position. Digits of k - 1, the least significant first.
    The sum of squares that scores need are of the position and the predecessor's symbol only, so 12 coordinates do.
    """
    writer = Writer(task, "quadratic", scale)
    depth = layers_needed(task.max_hops, "C")
    names = ("one", "i", "ii", "e", "x", "xx", "s", "ss", "p", "t", "c", "y")
    layers = [
        [writer.previous(({"x": 1.0}, {"xx": 1.0}), (("s",), ("ss",)))],
        [writer.last_match(({"i": 1.0}, {"x": 1.0}), (("p", "c"), ("t", "y")))],
    ]
    new_less_old: tuple[Form, ...] = ({"p": 1.0, "i": -1.0}, {"t": 1.0, "x": -1.0})
    done = 1
    for place in range(depth - 2):
        heads = [writer.lookup("p", new_less_old, (("p",), ("t",)), 2**place)]
        if (task.max_hops - 1) >> place & 1:
            heads.append(writer.lookup("c", new_less_old, (("c",), ("y",)), done))
            done += 2**place
        layers.append(heads)
    return Plan(names, writer.symbol(), {"e": [1.0] * task.symbol_tokens}, writer.position(), layers, None, "y")


def plan_of(task: HopTask, recipe: Recipe, encoding: Encoding, scale: float) -> Plan:
    """The plan of a recipe; a task of min_hops = 0 is a model's that reads k, else min_hops = max_hops = k."""
    if recipe == "C":
        return recipe_c(task, scale)
    return (recipe_a if recipe == "A" else recipe_b)(task, encoding, scale, task.min_hops == 0)


def attended_hops(recipe: Recipe, num_hops: int, num_layers: int) -> dict[int, int]:
    """By layer (the third is 3), the j such that a multi-task model of recipe A or B attends to find^j there when asked for k."""
    if recipe == "A":
        done, digits = 0, bits_of(max(num_hops - 1, 0), num_layers - 2)
    else:
        (done, *digits) = bits_of(num_hops, num_layers - 1)
    attended = {}
    for layer, bit in enumerate(digits, 3):
        attended[layer] = done + bit
        done = 2 * done + bit
    return attended
