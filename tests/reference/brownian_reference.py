"""The Brownian interval, slow and plain: one number at a time, by recursion, in exact times."""

import math
import struct
from fractions import Fraction

import numpy as np

ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))
WORD = 0xFFFFFFFF  # words are kept to 32 bits; also where they are arrays of 64-bit integers
BLOCKS = 16  # blocks of random words that make one chunk


def threefry(key, counter):
    """Return the four words of Threefry-4x32-20 (Salmon et al. 2011)."""
    schedule = [*key, 0x1BD11BDA ^ key[0] ^ key[1] ^ key[2] ^ key[3]]
    x = [(word + k) & WORD for word, k in zip(counter, schedule, strict=False)]
    for number in range(20):
        for first, second, rotation in zip(
            (0, 2), ((1, 3), (3, 1))[number % 2], ROTATIONS[number % 8], strict=True
        ):
            x[first] = (x[first] + x[second]) & WORD
            rotated = (x[second] << rotation | x[second] >> 32 - rotation) & WORD
            x[second] = rotated ^ x[first]
        if number % 4 == 3:
            step = number // 4 + 1
            x = [(word + schedule[(step + i) % 5]) & WORD for i, word in enumerate(x)]
            x[3] = (x[3] + step) & WORD
    return x


def normal(key, node, element, purpose, dtype):
    """Return the normal number of one element of the batch."""
    per_block = 4 if dtype == np.float32 else 2
    chunk, place = divmod(element, per_block * BLOCKS)
    which, block = divmod(place, BLOCKS)
    number = chunk * BLOCKS + block
    words = threefry(key, [node & WORD, node >> 32, number & WORD, number >> 32 | purpose << 24])
    if dtype == np.float32:
        x, y = words[which // 2 * 2 : which // 2 * 2 + 2]
        u = float(np.float32(np.float32(x >> 1) * np.float32(2**-31) + np.float32(2**-32)))
        angle = 2 * math.pi * y / 2**32
    else:
        u = ((words[0] << 32 | words[1]) >> 12) * 2.0**-52 + 2.0**-53
        angle = 2 * math.pi * ((words[2] << 32 | words[3]) / 2**64)
    return math.sqrt(-2 * math.log(u)) * (math.cos(angle), math.sin(angle))[which % 2]


def split(key, node, element, dtype, whole, left, right):
    """Return (W, H) of both parts of an interval."""
    (w, h), total = whole, left + right
    x1 = normal(key, node, element, 0, dtype)
    if h is None:
        part = left / total * w + math.sqrt(left * right / total) * x1
        return (part, None), (w - part, None)
    x2 = normal(key, node, element, 1, dtype)
    v = math.sqrt(left * right / (left**3 + right**3)) / 2
    a, b, c = v * left**2 / total, v * right**2 / total, v / math.sqrt(3)
    part = left / total * w + 6 * left * right / total**2 * h
    part += 2 * (a * left + b * right) / total * x1
    return (
        (part, (left / total) ** 2 * h - a * x1 + c * right * x2),
        (w - part, (right / total) ** 2 * h - b * x1 - c * left * x2),
    )


def join(first, second, first_length, second_length):
    """Return (W, H) of two intervals one after the other."""
    (w1, h1), (w2, h2) = first, second
    if h1 is None:
        return w1 + w2, None
    h = second_length * (h2 + w1 / 2) + first_length * (h1 - w2 / 2)
    return w1 + w2, h / (first_length + second_length)


def rest(whole, first, length, first_length):
    """Return (W, H) of what comes after the first part of an interval."""
    (w, h), (w1, h1) = whole, first
    if h is None:
        return w - w1, None
    second = length - first_length
    integral = length * (w / 2 + h) - first_length * (w1 / 2 + h1) - second * w1
    return w - w1, integral / second - (w - w1) / 2


def area(key, start, end, length, foster, w, h, dtype):
    """Return the areas of all rows, w: (rows, m), of an interval with these ends in cells."""
    key = threefry(threefry(key, [WORD] * 4), struct.unpack("<4I", struct.pack("<2d", start, end)))
    areas, element = np.zeros((*w.shape, w.shape[1])), 0
    for row in range(len(w)):
        for i in range(w.shape[1]):
            for j in range(i + 1, w.shape[1]):
                variance = length**2 / 12
                if foster:
                    variance = length**2 / 20 + length / 5 * (h[row, i] ** 2 + h[row, j] ** 2)
                value = h[row, i] * w[row, j] - w[row, i] * h[row, j]
                value += math.sqrt(variance) * normal(key, 0, element, 2, dtype)
                areas[row, i, j], areas[row, j, i] = value, -value
                element += 1
    return areas


class Reference:
    """One element of a Brownian interval: increment(start, end), with times in cells."""

    def __init__(self, length, cells, element, key, dtype, with_h):
        self.length, self.cells, self.element, self.key = length, cells, element, key
        self.dtype, self.with_h = dtype, with_h

    def whole(self):
        """Return (W, H) of all time."""
        w = math.sqrt(self.length) * normal(self.key, 0, self.element, 0, self.dtype)
        if not self.with_h:
            return w, None
        return w, math.sqrt(self.length / 12) * normal(self.key, 0, self.element, 1, self.dtype)

    def part(self, node, whole, left, right):
        """Return both parts of a range whose parts have these lengths in cells."""
        scale = self.length / self.cells
        left, right = float(left) * scale, float(right) * scale
        return split(self.key, node, self.element, self.dtype, whole, left, right)

    def before(self, time):
        """Return (W, H) from the beginning to a time, in cells; None at the beginning itself."""
        time, node, first, end = Fraction(time), 1, 0, self.cells
        total, length, here = None, Fraction(0), self.whole()
        while time not in (first, end):
            middle = first + (end - first) // 2 if end - first > 1 else time
            left, right = self.part(node, here, middle - first, end - middle)
            if end - first == 1:
                here, end = left, time
            elif time < middle:
                here, end, node = left, middle, 2 * node
            else:
                lengths = float(length), float(middle - first)
                total = left if total is None else join(total, left, *lengths)
                length += middle - first
                here, first, node = right, middle, 2 * node + 1
        if time == first:
            return total
        lengths = float(length), float(end - first)
        return here if total is None else join(total, here, *lengths)

    def increment(self, start, end):
        """Return (W, H) of an interval."""
        first, until = self.before(start), self.before(end)
        return until if first is None else rest(until, first, float(end), float(start))
