"""Theorem 4.2: its recurrence as printed, its depth, three repairs; Corollary 4.3 and its gadgets; what hop_k is like."""

from headcount.claims.claim import Claim, Kind
from headcount.claims.sanford2024 import _built_checks as built
from headcount.claims.sanford2024 import _hop_checks as checks
from theory.hops import layers_needed, layers_stated, num_undefined

MAPS = "each layer is followed by a map of each position by itself, which Definition 2.2 does not have"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="sanford2024/definition-4-1-example",
        number="Section 4.1, example",
        title="The example of hop_1 and hop_2",
        kind=Kind.TIGHT,
        statement=r"For $X = baebcabebdea$, $\mathrm{hop}_1(X)_{12} = b$ and $\mathrm{hop}_2(X)_{12} = c$.",
        formula=lambda num_hops: "abc".index({1: "b", 2: "c"}[num_hops]),
        check=checks.example,
        code=("theory.hops.hop",),
    ),
    Claim(
        name="sanford2024/undefined-positions",
        number="derived here, on Definition 4.1",
        title="How many positions are undefined",
        kind=Kind.TIGHT,
        statement=r"If a string uses all of $\Sigma$, and all its chains $i, \mathrm{find}^1(i), \mathrm{find}^2(i), \dots$ from "
        r"positions that no other one leads to have at least $k$ positions, but that of position 1, then hop_k is undefined at "
        r"exactly $1 + k(|\Sigma| - 1)$ positions.",
        assumptions=("no chain but that of position 1 is shorter than k",),
        formula=num_undefined,
        check=checks.undefined,
        code=("theory.hops.num_undefined", "theory.hops.exact_hops"),
        note="Repeats are allowed: a position behind its equal leads to itself and is on no chain.",
    ),
    Claim(
        name="sanford2024/undefined-positions-most",
        number="derived here, on Definition 4.1",
        title="Most positions that are undefined",
        kind=Kind.UPPER,
        statement=r"hop_k is undefined at $\min(N, 1 + k(|\Sigma| - 1))$ positions at most.",
        formula=num_undefined,
        check=checks.most_undefined,
        code=("theory.hops.num_undefined",),
    ),
    Claim(
        name="sanford2024/theorem-4-2",
        number="Theorem 4.2",
        title="hop_k by one head in floor(log2 k) + 2 layers",
        kind=Kind.UPPER,
        statement=r"For every $k$ and $|\Sigma| \le N$ there is a causally masked transformer with $m = O(1)$, $H = 1$ and "
        r"$L = \lfloor \log_2 k \rfloor + 2$ that computes $\mathrm{hop}_k$ on all of $\Sigma^N$.",
        formula=layers_stated,
        check=None,
        note="Neither proved nor refuted here, but for powers of two, where doubling alone has this depth with nothing but one "
        "head's sums (theorem-4-2-powers-of-two, by hardmax). The printed proof fails (theorem-4-2-recurrence), one head that "
        "looks up pointers needs ceil(log2 k) + 2 layers (theorem-4-2-look-ups), and the stated depth is reached with two heads "
        "in the first two layers and maps behind the layers (theorem-4-2-two-heads). That no other single head reaches it would "
        "be a statement on all transformers of the size, which nothing here decides.",
        code=("theory.hops.layers_stated",),
    ),
    Claim(
        name="sanford2024/theorem-4-2-recurrence",
        number="proof of Theorem 4.2",
        title="The recurrence as printed",
        kind=Kind.TIGHT,
        statement=r"Squaring the pointer in each layer after the second, and composing it into the answer where the binary digit "
        r"of $k$ is 1, gives $\mathrm{find}^k$ after $\lfloor \log_2 k \rfloor + 2$ layers.",
        formula=lambda num_hops: num_hops,
        check=checks.recurrence,
        note="A layer attends by the pointer that it has, find^(2^(l-3)) in layer l, half of what the digit stands for.",
    ),
    Claim(
        name="sanford2024/theorem-4-2-recurrence-computes",
        number="repairs the proof of Theorem 4.2",
        title="What the recurrence computes",
        kind=Kind.TIGHT,
        statement=r"The printed recurrence makes $\lfloor k/2 \rfloor + (k \bmod 2)$ hops.",
        formula=lambda num_hops: num_hops // 2 + num_hops % 2,
        check=checks.recurrence_computes,
        repairs="sanford2024/theorem-4-2-recurrence",
        note="For powers of two the pointer itself, not the answer composed, is find^k in the end.",
    ),
    Claim(
        name="sanford2024/theorem-4-2-depth",
        number="Theorem 4.2, depth",
        title="floor(log2 k) + 2 layers by looking up pointers",
        kind=Kind.UPPER,
        statement=r"One look-up of a pointer held, per layer after the second, reaches $\mathrm{find}^k$ within "
        r"$\lfloor \log_2 k \rfloor + 2$ layers.",
        formula=layers_stated,
        check=checks.depth,
        code=("theory.hops.layers_stated",),
        note="Of the way in which the theorem is proved, not of all transformers with one head.",
    ),
    Claim(
        name="sanford2024/theorem-4-2-look-ups",
        number="repairs Theorem 4.2",
        title="The least depth by looking up pointers",
        kind=Kind.TIGHT,
        statement=r"One look-up of a pointer held, per layer after the second, reaches $\mathrm{find}^k$ in "
        r"$\lceil \log_2 k \rceil + 2$ layers and in no fewer.",
        formula=lambda num_hops: layers_needed(num_hops, "A"),
        check=checks.least_depth,
        repairs="sanford2024/theorem-4-2-depth",
        code=("theory.hops.layers_needed", "theory.hops.reach"),
    ),
    Claim(
        name="sanford2024/theorem-4-2-one-head",
        number="repairs the proof of Theorem 4.2",
        title="One head, ceil(log2 k) + 2 layers, by hardmax",
        kind=Kind.TIGHT,
        statement=r"Carrying the pair $(\mathrm{find}^n, \mathrm{find}^{n+1})$ and following the digits of $k - 1$, largest "
        r"first, one head per layer with $O(1)$ numbers per position computes $\mathrm{hop}_k$ in $\lceil \log_2 k \rceil + 2$ "
        r"layers.",
        assumptions=(MAPS, "the map writes the pair that was looked up over the old one"),
        formula=lambda num_hops: layers_needed(num_hops, "A"),
        check=checks.one_head,
        repairs="sanford2024/theorem-4-2-recurrence",
        code=("constructions.hops.build", "theory.hops.layers_needed"),
        note="Layers that only add can write over what the position attended to knows: find^n, where that is looked up. For a "
        "digit 1 find^(n+1) is, where nothing tells find^n of the position that asks. sanford2024/recipe-c-built takes a second "
        "head instead.",
    ),
    Claim(
        name="sanford2024/theorem-4-2-powers-of-two",
        number="Theorem 4.2, powers of two",
        title="Powers of two by doubling alone, by hardmax",
        kind=Kind.TIGHT,
        statement=r"For $k$ a power of two one head per layer, linear maps and residual additions alone, and $m = 10$ numbers "
        r"per position compute $\mathrm{hop}_k$ in the $\log_2 k + 2$ layers that the theorem states.",
        assumptions=("k is a power of two",),
        formula=layers_stated,
        check=checks.doubling,
        code=("theory.hops.layers_stated",),
        note="The numbers are 1, i, i^2, a mark of the start, the symbol, its square, the symbol before, its square, the pointer "
        "and the symbol there: a literal instance of Definition 2.2, with hardmax for softmax.",
    ),
    Claim(
        name="sanford2024/theorem-4-2-two-heads",
        number="repairs Theorem 4.2",
        title="Two heads, floor(log2 k) + 2 layers, by hardmax",
        kind=Kind.TIGHT,
        statement=r"With a second head in layers 1 and 2, which counts equal symbols, $\mathrm{hop}_k$ is computed for every "
        r"$k \ge 1$ in the $\lfloor \log_2 k \rfloor + 2$ layers that the theorem states.",
        assumptions=(MAPS, "the maps also make ranks of their reciprocals and squares of ranks, and write over"),
        formula=layers_stated,
        check=checks.two_heads,
        repairs="sanford2024/theorem-4-2-depth",
        code=("constructions.hops.build", "theory.hops.layers_stated"),
    ),
    Claim(
        name="sanford2024/recipe-a-built",
        number="repairs the proof of Theorem 4.2, as softmax weights",
        title="One head per layer: weights",
        kind=Kind.TIGHT,
        statement=r"The transformer built with $H = 1$ and $\lceil \log_2 k \rceil + 2$ layers, softmax in float64 and float32, "
        r"computes $\mathrm{hop}_k$.",
        assumptions=(MAPS,),
        formula=lambda num_hops: layers_needed(num_hops, "A"),
        check=built.recipe_a,
        repairs="sanford2024/theorem-4-2-recurrence",
        code=("constructions.hops.build",),
        note="Where layers only add (Definition 2.2), a state cannot be written over without such a map; "
        "sanford2024/recipe-c-built does without.",
    ),
    Claim(
        name="sanford2024/recipe-b-built",
        number="repairs Theorem 4.2, as softmax weights",
        title="Two heads in the first layers: weights",
        kind=Kind.TIGHT,
        statement=r"The transformer built with $H = 2$ and $\lfloor \log_2 k \rfloor + 2$ layers, softmax in float64 and "
        r"float32, computes $\mathrm{hop}_k$.",
        assumptions=(MAPS,),
        formula=layers_stated,
        check=built.recipe_b,
        repairs="sanford2024/theorem-4-2-depth",
        code=("constructions.hops.build",),
    ),
    Claim(
        name="sanford2024/recipe-c-built",
        number="repairs Theorem 4.2, as attention alone",
        title="Linear attention layers and nothing else, bit for bit",
        kind=Kind.TIGHT,
        statement=r"The transformer of linear query, key and value maps and residual additions alone, $H = 2$, $m = 12$ and "
        r"$\lceil \log_2 k \rceil + 2$ layers, holds $\mathrm{hop}_k$ in one coordinate exactly, without any rounding.",
        formula=lambda num_hops: layers_needed(num_hops, "C"),
        check=built.recipe_c,
        repairs="sanford2024/theorem-4-2-recurrence",
        code=("constructions.hops.build",),
        note="Values are what the attended position has less what the own one has, so that adding them writes over: a literal "
        "instance of Definition 2.2 with a width that does not grow.",
    ),
    Claim(
        name="sanford2024/corollary-4-3",
        number="Corollary 4.3",
        title="Depth that hop_k needs",
        kind=Kind.CONDITIONAL,
        granted=Kind.LOWER,
        statement=r"For $\xi \in (0, 1/2]$, $\epsilon \in (0, 1)$ and even $k = \Theta(N^\xi)$ every causally masked transformer "
        r"with $m H = O(k^{1 - \epsilon})$ that computes $\mathrm{hop}_k$ has $L = \Omega(\log k)$ layers.",
        assumptions=("the conjecture that telling one cycle from two takes Omega(log N) rounds of parallel computation",),
        formula=lambda num_hops: num_hops.bit_length() - 1,
        check=None,
        code=("theory.depth_bounds",),
        note="Rests on an open conjecture, and its constant is not given: it says nothing of any single N and k, so that no "
        "model can violate it. Its reduction can be checked: sanford2024/corollary-4-3-gadget.",
    ),
    Claim(
        name="sanford2024/corollary-4-3-reverse",
        number="proof of Corollary 4.3, one sentence",
        title="The gadgets' answer, as one sentence has it",
        kind=Kind.TIGHT,
        statement=r"On the string of gadgets of a graph that is one $k$-cycle or two $k/2$-cycles, the last $\mathrm{hop}_k$ is "
        r"the start vertex if and only if there is one cycle.",
        assumptions=("k / 2 >= 3",),
        formula=lambda num_cycles: int(num_cycles == 1),
        check=checks.gadgets_answer,
        note="The induction of the same proof says the opposite, rightly.",
    ),
    Claim(
        name="sanford2024/corollary-4-3-gadget",
        number="repairs the proof of Corollary 4.3",
        title="The gadgets' answer",
        kind=Kind.TIGHT,
        statement=r"On the string of gadgets of a graph that is one $k$-cycle or two $k/2$-cycles, the last $\mathrm{hop}_k$ is "
        r"the start vertex if and only if there are two cycles.",
        assumptions=("k / 2 >= 3",),
        formula=lambda num_cycles: int(num_cycles == 2),
        check=checks.gadgets_answer,
        repairs="sanford2024/corollary-4-3-reverse",
        code=("theory.hop_strings.one_or_two_cycles",),
        note="So a transformer that computes hop_k tells one cycle from two: the unconditional half of Corollary 4.3.",
    ),
)
