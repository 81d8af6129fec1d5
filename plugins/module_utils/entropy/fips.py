# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The statistical tests of FIPS 140-2 (change notice 2 of 2002) with the verdicts of rngtest 5, block by block.

A block is 20 000 bits, the most significant bit of each byte first. It is handled as one integer: shifts and ANDs look at
all of its bits at once, and a population count gives each figure.

rngtest differs from the text of the standard in three ways, found by feeding it and kept here, since both must give the same verdict:

- the last run of a block is counted among the runs of the *other* bit value;
- it remembers the last bit of the block before (0 before the first block). Where the first bit of a block differs from it and is 1,
  one more run of six or more ones is counted; where it differs and is 0, one more nibble 15 in the poker test;
- the continuous run test compares 32-bit words, also across blocks, and takes the first four bytes of all only to compare with.
"""

from __future__ import annotations

import math
from typing import Iterator

BLOCK_BITS = 20000
BLOCK_BYTES = BLOCK_BITS // 8
BOOTSTRAP_BYTES = 4  # the first word of the continuous run test
TESTS = ("monobit", "poker", "runs", "long_run", "continuous_run")
MONOBIT, POKER, RUNS, LONG_RUN, CONTINUOUS_RUN = (1 << number for number in range(5))

# The limits are those of FIPS 140-2, change notice 2 (of 2002-12-03), section 4.9.1; the poker statistic is given there as
# 2.16 < X < 46.17 with X = 16/5000 * sum(f^2) - 5000, which are these sums.
ONES = range(9726, 10275)
POKER_SUM = range(1563176, 1576929)
RUN_COUNTS = (range(2315, 2686), range(1114, 1387), range(527, 724), range(240, 385), range(103, 210), range(103, 210))
LONG_RUN_BITS = 26
FALSE_FAILURE_RATE = 0.0008  # blocks of a perfect source that fail: 301 of 400 000 were measured with rngtest, 0.75 per mille
REPEAT_RATE = BLOCK_BITS / 32 / 2**32  # the same for the continuous run test alone: 625 pairs of words, each equal by chance once in 2^32
FALSE_ALARM = 1e-6  # the chance we take that a perfect source is called bad

_ALL = (1 << BLOCK_BITS) - 1
_FIRST = 1 << (BLOCK_BITS - 1)
_NIBBLES = BLOCK_BITS // 4
_EACH_NIBBLE = int("1" * _NIBBLES, 16)
_EACH_WORD = int("00000001" * (BLOCK_BITS // 32), 16)
_EACH_WORD_TOP = _EACH_WORD << 31

_SUM_FIELDS = (  # (width, mask) for the population count by adding neighbours, for Pythons before 3.10
    (1, int("5" * _NIBBLES, 16)),
    (2, int("3" * _NIBBLES, 16)),
    (4, int("0f" * BLOCK_BYTES, 16)),
    (8, int("00ff" * (BLOCK_BYTES // 2), 16)),
)


def count_ones_by_sums(number: int) -> int:
    """Ones in a number of up to 20 000 bits.

    Neighbouring fields are added until they are 16 bits wide; the remainder by 65535 then adds all of these.
    """
    for width, mask in _SUM_FIELDS:
        number = (number & mask) + ((number >> width) & mask)
    return number % 0xFFFF


count_ones = getattr(int, "bit_count", count_ones_by_sums)  # int.bit_count: Python 3.10


def failed_tests(window: bytes, last_bit: int) -> int:
    """Judge one block.

    :param window: the four bytes before the block and the block's 2500.
    :param last_bit: the last bit of the block before; 0 for the first block.
    :returns: the sum of MONOBIT, POKER, RUNS, LONG_RUN and CONTINUOUS_RUN as far as these failed; 0 when the block passed.
    """
    words = int.from_bytes(window, "big")
    block = words & _ALL
    surprise = (block >> (BLOCK_BITS - 1)) != last_bit
    failed = 0
    ones, poker_sum = _nibbles(block, surprise)
    if ones not in ONES:
        failed |= MONOBIT
    if poker_sum not in POKER_SUM:
        failed |= POKER
    failed |= _runs(block, surprise)
    change = (words ^ (words >> 32)) & _ALL
    if ((change | _FIRST << 1) - _EACH_WORD) & ~change & _EACH_WORD_TOP:  # a zero among the words: only that one borrows into its top bit
        failed |= CONTINUOUS_RUN
    return failed


def _nibbles(block: int, surprise: bool) -> tuple[int, int]:
    """The number of ones, and the sum of the squared frequencies of the sixteen nibbles.

    The squares come from the Walsh-Hadamard transform of the frequencies: 16 * sum(f^2) = sum(w^2), where w is the number of nibbles
    in which an even number of the chosen bits is set minus those with an odd number. Each is one population count.
    """
    odd = [0]
    for shift in range(4):
        plane = (block >> shift) & _EACH_NIBBLE
        odd += [plane ^ other for other in odd]
    counts = [count_ones(bits) for bits in odd]
    walsh = [_NIBBLES - 2 * count for count in counts]
    poker_sum = sum([value * value for value in walsh]) >> 4
    if surprise and not block & _FIRST:
        w = walsh
        even_choice = w[0] + w[3] + w[5] + w[6] + w[9] + w[10] + w[12] + w[15]
        frequency = (2 * even_choice - sum(w)) >> 4  # of nibble 15
        poker_sum += 2 * frequency + 1
    return counts[1] + counts[2] + counts[4] + counts[8], poker_sum


def _runs(block: int, surprise: bool) -> int:
    """RUNS and LONG_RUN, as far as these failed."""
    starts = block ^ (block >> 1) | _FIRST
    goes_on = starts ^ _ALL
    begun = count_ones(starts)
    first = block >> (BLOCK_BITS - 1)
    ones = [(begun + first) >> 1]  # runs of at least 1, 2, … 6 bits; the values take turns
    zeros = [begun - ones[0]]
    longer = starts
    for length in (1, 2, 3, 4, 5):
        longer &= goes_on << length
        of_ones = count_ones(longer & block)
        ones.append(of_ones)
        zeros.append(count_ones(longer) - of_ones)
    exact_ones = [
        ones[0] - ones[1],
        ones[1] - ones[2],
        ones[2] - ones[3],
        ones[3] - ones[4],
        ones[4] - ones[5],
        ones[5],
    ]
    exact_zeros = [
        zeros[0] - zeros[1],
        zeros[1] - zeros[2],
        zeros[2] - zeros[3],
        zeros[3] - zeros[4],
        zeros[4] - zeros[5],
        zeros[5],
    ]
    tail = starts & 0x3F
    last = ((tail & -tail).bit_length() or 6) - 1
    own, other = (exact_ones, exact_zeros) if block & 1 else (exact_zeros, exact_ones)
    own[last] -= 1
    other[last] += 1
    if surprise and first:
        exact_ones[5] += 1
    failed = 0
    for limits, count_of_ones, count_of_zeros in zip(RUN_COUNTS, exact_ones, exact_zeros):
        if count_of_ones not in limits or count_of_zeros not in limits:
            failed = RUNS
            break
    pairs = goes_on & goes_on << 1
    fours = pairs & pairs << 2
    eights = fours & fours << 4
    sixteens = eights & eights << 8
    if sixteens & sixteens << (LONG_RUN_BITS - 1 - 16):  # 25 bits that go on after one that starts
        failed |= LONG_RUN
    return failed


class Tester:
    """Judges a stream of bytes that comes in pieces.

    :ivar blocks: whole blocks judged so far.
    :ivar failures: those that failed at least one test.
    :ivar failed: failures by test, in the order of TESTS.
    """

    def __init__(self) -> None:
        self.blocks = 0
        self.failures = 0
        self.failed = dict.fromkeys(TESTS, 0)
        self._rest = b""
        self._last_bit = 0

    def feed(self, data: bytes) -> None:
        """Judge all blocks that are whole now."""
        data = self._rest + data
        offset = 0
        while len(data) - offset >= BOOTSTRAP_BYTES + BLOCK_BYTES:
            window = data[offset : offset + BOOTSTRAP_BYTES + BLOCK_BYTES]
            failed = failed_tests(window, self._last_bit)
            self._last_bit = window[-1] & 1
            self.blocks += 1
            if failed:
                self._count(failed)
            offset += BLOCK_BYTES
        self._rest = data[offset:]

    def _count(self, failed: int) -> None:
        self.failures += 1
        for name in names(failed):
            self.failed[name] += 1


def names(failed: int) -> Iterator[str]:
    """The names of the tests in a sum as :func:`failed_tests` gives it."""
    return (name for number, name in enumerate(TESTS) if failed >> number & 1)


def bytes_for(blocks: int) -> int:
    """The bytes that the test of so many blocks takes."""
    return BOOTSTRAP_BYTES + blocks * BLOCK_BYTES


def likely_failures(blocks: int, rate: float = FALSE_FAILURE_RATE, false_alarm: float = FALSE_ALARM) -> int:
    """The largest number of failed blocks that is still no reason to doubt the source.

    :param blocks: blocks tested, at least 1.
    :param rate: the chance that a block of a perfect source fails.
    :param false_alarm: the chance that a perfect source exceeds the result.
    :returns: the least k for which the binomial distribution (``blocks`` trials at ``rate``) has P(failures > k) ≤ ``false_alarm``.
    """
    log_odds = math.log(rate) - math.log1p(-rate)
    log_none = blocks * math.log1p(-rate)
    log_ways = math.lgamma(blocks + 1)

    def chance(failures: int) -> float:
        ways = log_ways - math.lgamma(failures + 1) - math.lgamma(blocks - failures + 1)
        return math.exp(ways + failures * log_odds + log_none)

    mean = blocks * rate
    most = min(blocks, math.ceil(mean + 12 * math.sqrt(mean) + 20))  # beyond that the sum gains nothing that a float shows
    above = 0.0
    for failures in range(most, 0, -1):
        above += chance(failures)
        if above > false_alarm:
            return failures
    return 0
