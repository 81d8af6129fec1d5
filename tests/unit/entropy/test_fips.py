# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The FIPS 140-2 tests against rngtest itself: the same bytes, the same verdict, for whole files and for single blocks.

Where rngtest is not installed, its recorded output on the same bytes is compared (they come from a seeded generator).
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import fips

FIXTURES = Path(__file__).parents[1] / "fixtures/entropy"
RNGTEST = shutil.which("rngtest")
NAMES = {
    "monobit": "Monobit",
    "poker": "Poker",
    "runs": "Runs",
    "long_run": "Long run",
    "continuous_run": "Continuous run",
}
needs_rngtest = pytest.mark.skipif(RNGTEST is None, reason="rngtest is not installed (Debian: rng-tools5)")
BOOTSTRAP = bytes.fromhex("deadbeef")
BITS = fips.BLOCK_BITS


def counts(report: str) -> dict[str, int]:
    found = {ours: int(re.search(rf"\) {theirs}: (\d+)", report)[1]) for ours, theirs in NAMES.items()}
    return {**found, "failures": int(re.search(r"FIPS 140-2 failures: (\d+)", report)[1])}


def theirs(stream: bytes) -> dict[str, int]:
    assert RNGTEST is not None
    return counts(subprocess.run([RNGTEST], input=stream, capture_output=True, check=False).stderr.decode())


def ours(stream: bytes, piece: int = 1 << 20) -> dict[str, int]:
    tester = fips.Tester()
    for offset in range(0, len(stream), piece):
        tester.feed(stream[offset : offset + piece])
    assert tester.blocks == max(0, (len(stream) - 4) // fips.BLOCK_BYTES)
    return {**tester.failed, "failures": tester.failures}


def verdict(stream: bytes) -> set[str]:
    """Tests that a stream of one block fails, by our code; rngtest must say the same, where it is there."""
    found = ours(stream)
    if RNGTEST is not None:
        assert found == theirs(stream)
    return {name for name in NAMES if found[name]}


def random_bytes(seed: int, length: int, density: float = 0.5) -> bytes:
    """Bits that are 1 with the chance ``density`` (a multiple of 1/4096), all at once: one random number per binary digit of it."""
    source = random.Random(seed)
    bits = 0
    for place in range(12):
        digit = round(density * 4096) >> place & 1
        other = source.getrandbits(length * 8)
        bits = bits | other if digit else bits & other
    return bits.to_bytes(length, "big")


def bits_to_bytes(bits: list[int]) -> bytes:
    return int("".join(map(str, bits)), 2).to_bytes(len(bits) // 8, "big")


def to_bits(block: bytes) -> list[int]:
    return [byte >> place & 1 for byte in block for place in range(7, -1, -1)]


def run_lengths(bits: list[int]) -> Iterator[tuple[int, int]]:
    """(value, length) of each run: the plain reading of the standard, bit by bit."""
    value, length = bits[0], 0
    for bit in bits:
        if bit != value:
            yield value, length
            value, length = bit, 0
        length += 1
    yield value, length


def good_block(seed: int = 3) -> bytes:
    """A block that passes all tests with room to spare."""
    for candidate in range(seed, seed + 100):
        block = random_bytes(candidate, fips.BLOCK_BYTES)
        if not fips.failed_tests(BOOTSTRAP + block, 0):
            return block
    raise AssertionError("no block of a hundred passes")


# ------------------------------------------------------------------------------------------------- whole files
FILES = {
    "random": lambda: random_bytes(1, fips.bytes_for(400)),
    "ones-51": lambda: random_bytes(2, fips.bytes_for(20), 0.51),
    "ones-49": lambda: random_bytes(3, fips.bytes_for(20), 0.49),
    "ones-52": lambda: random_bytes(4, fips.bytes_for(20), 0.52),
    "ones-60": lambda: random_bytes(5, fips.bytes_for(20), 0.60),
    "ones-90": lambda: random_bytes(6, fips.bytes_for(20), 0.90),
    "zeros": lambda: bytes(fips.bytes_for(10)),
    "all-ones": lambda: b"\xff" * fips.bytes_for(10),
    "alternating": lambda: b"\x55" * fips.bytes_for(10),
    "counter": lambda: b"".join(number.to_bytes(4, "little") for number in range(fips.bytes_for(20) // 4)),
    "half-stuck": lambda: random_bytes(7, fips.bytes_for(10)) + bytes(fips.BLOCK_BYTES * 10),
    "text": lambda: (b"The quick brown fox jumps over the lazy dog. " * 1000)[: fips.bytes_for(15)],
}


@needs_rngtest
@pytest.mark.parametrize("case", FILES)
def test_a_file_gets_the_verdict_of_rngtest(case: str) -> None:
    stream = FILES[case]()
    assert ours(stream) == theirs(stream)


@pytest.mark.parametrize("case", FILES)
def test_a_file_gets_the_verdict_recorded_of_rngtest(case: str) -> None:
    recorded = (FIXTURES / f"rngtest-5-{case}.txt").read_text(encoding="utf-8")
    assert ours(FILES[case]()) == counts(recorded)


@needs_rngtest
@pytest.mark.parametrize("seed", range(4))
def test_many_random_blocks_get_the_verdict_of_rngtest(seed: int) -> None:
    stream = random_bytes(1000 + seed, fips.bytes_for(2000))
    assert ours(stream) == theirs(stream)


@needs_rngtest
@pytest.mark.parametrize("case", ["random", "ones-51", "ones-52", "text"])
def test_single_blocks_get_the_verdict_of_rngtest(case: str) -> None:
    stream = FILES[case]()
    for number in range(15):
        one = stream[number * fips.BLOCK_BYTES : number * fips.BLOCK_BYTES + fips.bytes_for(1)]
        assert ours(one) == theirs(one), number


@pytest.mark.parametrize("piece", [1, 3, 2500, 2504, 5001, 65536])
def test_the_pieces_in_which_bytes_come_make_no_difference(piece: int) -> None:
    stream = FILES["half-stuck"]()[: fips.bytes_for(14) + 7]
    assert ours(stream, piece) == ours(stream)


@pytest.mark.parametrize("length", [0, 1, 4, 2500, 2503])
def test_less_than_a_block_is_not_judged(length: int) -> None:
    tester = fips.Tester()
    tester.feed(bytes(length))
    assert (tester.blocks, tester.failures) == (0, 0)


# ------------------------------------------------------------------------------------------------ the exact limits
def with_ones(wanted: int) -> bytes:
    source = random.Random(wanted)
    bits = to_bits(good_block(wanted))
    excess = sum(bits) - wanted
    places = [place for place, bit in enumerate(bits) if bit == (excess > 0)]
    for place in source.sample(places, abs(excess)):
        bits[place] ^= 1
    assert sum(bits) == wanted
    return bits_to_bytes(bits)


@pytest.mark.parametrize(("ones", "fails"), [(9725, True), (9726, False), (10000, False), (10274, False), (10275, True)])
def test_monobit_limits(ones: int, fails: bool) -> None:
    assert ("monobit" in verdict(BOOTSTRAP + with_ones(ones))) is fails


def with_poker_sum(wanted: int) -> bytes:
    """A block whose sixteen nibble frequencies have this sum of squares: move single nibbles until it fits."""
    source = random.Random(wanted)
    frequency = [313] * 8 + [312] * 8
    while (now := sum(count * count for count in frequency)) != wanted:
        old, new = source.sample(range(16), 2)
        change = 2 * (frequency[new] - frequency[old]) + 2
        if abs(now + change - wanted) <= abs(now - wanted) or source.random() < 0.01:
            frequency[old] -= 1
            frequency[new] += 1
    nibbles = [value for value, count in enumerate(frequency) for dummy in range(count)]
    source.shuffle(nibbles)
    return bytes.fromhex("".join(f"{nibble:x}" for nibble in nibbles))


@pytest.mark.parametrize(("total", "fails"), [(1563174, True), (1563176, False), (1570000, False), (1576928, False), (1576930, True)])
def test_poker_limits(total: int, fails: bool) -> None:
    """The sum of squares has the parity of 5000, so its neighbours are two away."""
    assert ("poker" in verdict(BOOTSTRAP + with_poker_sum(total))) is fails


NOMINAL = [2500, 1250, 625, 312, 156, 156]


def with_runs(seed: int, value: int, bucket: int, wanted: int) -> bytes:
    """A block that begins and ends with zeros as rngtest counts them, and has exactly so many runs of the value in the bucket."""
    source = random.Random(seed)
    numbers = {0: list(NOMINAL), 1: list(NOMINAL)}
    numbers[value][bucket] = wanted
    if bucket == 0:  # the numbers of runs of ones and of zeros must match, and no other bucket may leave its limits for that
        numbers[1 - value][0] += (wanted - NOMINAL[0]) * 3 // 5
    numbers[value][1 if bucket == 0 else 0] += sum(numbers[1 - value]) - sum(numbers[value])
    lengths = {bit: [length for length, number in enumerate(numbers[bit], 1) for dummy in range(number)] for bit in (0, 1)}
    missing = BITS - sum(map(sum, lengths.values()))
    long_ones = [(bit, place) for bit in (0, 1) for place, length in enumerate(lengths[bit]) if length == 6]
    while missing > 0:
        bit, place = source.choice(long_ones)
        if lengths[bit][place] < 25:
            lengths[bit][place] += 1
            missing -= 1
    assert missing == 0, "the wanted runs take more than a block"
    for bit in (0, 1):
        source.shuffle(lengths[bit])
    bits: list[int] = []
    for zeros, ones in zip(lengths[0], lengths[1], strict=True):
        bits += [0] * zeros + [1] * ones
    found = [0] * 6
    for bit, length in run_lengths(bits):
        found[min(length, 6) - 1] += bit == value
    assert found[bucket] == wanted
    return bits_to_bytes(bits)


def rngtest_numbers(block: bytes) -> dict[int, list[int]]:
    """Runs as rngtest counts them in the first block of a stream."""
    bits = to_bits(block)
    found = {0: [0] * 6, 1: [0] * 6}
    *runs, (last_value, last_length) = run_lengths(bits)
    for value, length in runs:
        found[value][min(length, 6) - 1] += 1
    found[1 - last_value][min(last_length, 6) - 1] += 1
    if bits[0] == 1:
        found[1][5] += 1
    return found


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("bucket", range(6))
@pytest.mark.parametrize("edge", ["below", "least", "most", "above"])
def test_run_limits(value: int, bucket: int, edge: str) -> None:
    limits = fips.RUN_COUNTS[bucket]
    wanted = {"below": limits[0] - 1, "least": limits[0], "most": limits[-1], "above": limits[-1] + 1}[edge]
    for seed in range(200):  # until the last run, which rngtest puts on the other side, leaves the bucket in question alone
        block = with_runs(seed, value, bucket, wanted)
        numbers = rngtest_numbers(block)
        if numbers[value][bucket] == wanted:
            break
    else:
        raise AssertionError("no such block found")
    others_fit = all(
        numbers[bit][place] in fips.RUN_COUNTS[place] for bit in (0, 1) for place in range(6) if (bit, place) != (value, bucket)
    )
    assert others_fit
    assert ("runs" in verdict(BOOTSTRAP + block)) is (edge in ("below", "above"))


def with_run_at(place: int, length: int, value: int = 1) -> bytes:
    bits = to_bits(good_block(place + length))
    for offset in range(length):
        bits[place + offset] = value
    if place:
        bits[place - 1] = 1 - value
    if place + length < BITS:
        bits[place + length] = 1 - value
    return bits_to_bytes(bits)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("start", [0, 1, 7, 8, 9993, 9999, -1])
@pytest.mark.parametrize(("length", "fails"), [(25, False), (26, True), (27, True), (60, True)])
def test_long_run_limit(length: int, fails: bool, start: int, value: int) -> None:
    place = BITS - length if start == -1 else start
    assert ("long_run" in verdict(BOOTSTRAP + with_run_at(place, length, value))) is fails


@pytest.mark.parametrize("value", [0, 1])
def test_a_run_across_a_border_counts_in_each_block_alone(value: int) -> None:
    stream = BOOTSTRAP + with_run_at(BITS - 20, 20, value) + with_run_at(0, 20, value)
    assert "long_run" not in verdict(stream)


@pytest.mark.parametrize("word", [1, 2, 311, 623, 624])
def test_a_repeated_word_within_a_block(word: int) -> None:
    block = bytearray(good_block())
    block[word * 4 : word * 4 + 4] = block[word * 4 - 4 : word * 4]
    assert "continuous_run" in verdict(BOOTSTRAP + bytes(block))


def test_words_that_repeat_but_not_in_a_row_or_not_aligned_pass() -> None:
    block = bytearray(good_block())
    block[100:104] = block[92:96]
    block[202:206] = block[198:202]
    assert "continuous_run" not in verdict(BOOTSTRAP + bytes(block))


def test_a_first_word_equal_to_the_bootstrap_fails() -> None:
    block = good_block()
    assert "continuous_run" in verdict(block[:4] + block)
    assert "continuous_run" not in verdict(bytes(4) + block)


def test_a_word_repeated_across_a_border_fails_the_second_block_only() -> None:
    first, second = good_block(11), bytearray(good_block(12))
    second[:4] = first[-4:]
    found = ours(BOOTSTRAP + first + bytes(second))
    assert (found["continuous_run"], found["failures"]) == (1, 1)
    assert verdict(BOOTSTRAP + first + bytes(second)) == {"continuous_run"}


# ---------------------------------------------------- what rngtest carries from one block to the next, at the limits
def ending_with(bit: int) -> bytes:
    return next(block for block in map(good_block, range(1, 500)) if block[-1] & 1 == bit)


@needs_rngtest
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("first", [0, 1])
def test_the_bit_before_a_block_counts_as_in_rngtest(last: int, first: int) -> None:
    """The figures that the bit before changes (runs of six or more ones, nibble 15) put exactly to their limits."""
    before = BOOTSTRAP + ending_with(last)
    seen = set()
    for seed in range(3):
        for wanted in (102, 103, 208, 209, 210):
            block = with_runs(seed, 1, 5, wanted)
            bits = to_bits(block)
            block = block if first == 0 else bits_to_bytes([1 - bit for bit in bits])
            assert ours(before + block) == theirs(before + block)
            seen.add("runs" in verdict(before + block))
        for total in (1562700, 1563172, 1563174, 1563176, 1576300, 1576926, 1576928, 1576930):
            block = with_poker_sum(total)
            if block[0] >> 7 != first:
                block = bytes(byte ^ 0xFF for byte in block)
            assert ours(before + block) == theirs(before + block)
    assert seen == {True, False}


def test_the_bit_before_a_block_can_decide() -> None:
    """A 0 after a 1 adds a nibble 15: this block passes the poker test after a 0 and fails it after a 1."""
    block = with_poker_sum(1576928)
    if block[0] >> 7:
        block = bytes(byte ^ 0xFF for byte in block)
    assert not fips.failed_tests(BOOTSTRAP + block, 0) & fips.POKER
    assert fips.failed_tests(BOOTSTRAP + block, 1) & fips.POKER


# ---------------------------------------------------------------------------------------------------- anything at all
@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A few blocks of some density, with pieces overwritten by patterns."""
    seed, density = draw(st.integers(0, 2**32)), draw(st.sampled_from([0.5, 0.5, 0.5, 0.49, 0.51, 0.486, 0.514, 0.7]))
    length = draw(st.integers(fips.bytes_for(1), fips.bytes_for(3)))
    stream = bytearray(random_bytes(seed, length, density))
    for dummy in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, length - 1))
        pattern = draw(st.binary(min_size=1, max_size=5)) * draw(st.integers(1, 8))
        stream[place : place + len(pattern)] = pattern[: length - place]
    return bytes(stream)


@needs_rngtest
@settings(max_examples=150, deadline=None)
@given(streams())
def test_anything_gets_the_verdict_of_rngtest(stream: bytes) -> None:
    assert ours(stream) == theirs(stream)


@given(st.integers(0, 2**BITS - 1) | st.binary(max_size=2500).map(lambda data: int.from_bytes(data, "big")))
def test_both_ways_of_counting_ones_agree(number: int) -> None:
    assert fips.count_ones_by_sums(number) == bin(number).count("1") == fips.count_ones(number)


def test_the_way_of_older_pythons_gives_the_same_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [ours(FILES[case]()) for case in ("random", "ones-51", "zeros")]
    monkeypatch.setattr(fips, "count_ones", fips.count_ones_by_sums)
    assert [ours(FILES[case]()) for case in ("random", "ones-51", "zeros")] == expected


# ----------------------------------------------------------------------------------------------- how many may fail
def tail(blocks: int, limit: int, rate: float) -> float:
    """P(failures > limit) by the definition, with exact binomial coefficients."""
    from fractions import Fraction
    from math import comb

    p = Fraction(rate)
    return float(1 - sum(comb(blocks, k) * p**k * (1 - p) ** (blocks - k) for k in range(limit + 1)))


@pytest.mark.parametrize("blocks", [1, 2, 7, 20, 100, 1000, 2000])
def test_the_limit_is_the_least_with_a_false_alarm_of_one_in_a_million(blocks: int) -> None:
    limit = fips.likely_failures(blocks)
    assert tail(blocks, limit, fips.FALSE_FAILURE_RATE) <= 1e-6
    assert limit == 0 or tail(blocks, limit - 1, fips.FALSE_FAILURE_RATE) > 1e-6


def test_the_documented_limits() -> None:
    assert [fips.likely_failures(blocks) for blocks in (100, 1000, 8000)] == [4, 8, 22]
    assert fips.likely_failures(10**7) > 8000


def test_a_single_repeated_word_is_no_chance_in_few_blocks_and_one_is_in_many() -> None:
    assert fips.likely_failures(1, rate=fips.REPEAT_RATE) == 0
    assert fips.likely_failures(1000, rate=fips.REPEAT_RATE) == 1
