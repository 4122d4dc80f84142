#!/usr/bin/env python3
"""function_points.py > targets/src/math/points.txt: values of functions of f64 to more digits than f64 has.

A line is a function, the bits of its operands and of the nearest f64 to the value, and by how many thousandths of a unit in the
last place the value is above it in magnitude.  needs: mpmath
"""
import random
import struct
import sys

import mpmath as mp

mp.mp.prec = 2400
random.seed(1)


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def number(b):
    return struct.unpack("<d", struct.pack("<Q", b))[0]


def nearest(value):
    """The nearest f64, and the rest in its last places."""
    magnitude = abs(value)
    if magnitude == 0:
        return 0.0, 0
    exponent = max(int(mp.floor(mp.log(magnitude, 2))), -1022)
    unit = mp.mpf(2) ** (exponent - 52)
    count = mp.nint(magnitude / unit)
    if count * unit >= mp.mpf(2) ** 1024:
        return None
    rest = int(mp.nint(1000 * (magnitude / unit - count)))
    return float(count * unit) * (-1 if value < 0 else 1), rest


def every(low, high, step, signs=(1, -1)):
    """A number of random digits for every so many-th exponent, of alternating signs."""
    for i, e in enumerate(range(low, high, step)):
        yield signs[i % len(signs)] * number((e + 1023 if e > -1023 else 0) << 52 | random.getrandbits(52))


def between(low, high, count):
    for _ in range(count):
        yield random.uniform(low, high)


def both(xs):
    for i, x in enumerate(xs):
        yield x if i % 2 else -x


ALL = list(every(-1074, 1024, 14))
SMALL = list(every(-1074, 0, 11))
CIRCLE = ALL + list(every(0, 1024, 7)) + list(between(-60, 60, 60)) + [
    6381956970095103.0 * 2.0**797, 5.319372648326541e255, 1e22, 2.0**20, -(2.0**20) * 1.0000001,
] + [float(mp.mpf(n) * mp.pi / 2) for n in (1, 2, 3, 11, 1000, 600000, 10**7, 10**12)]
sigmoid = lambda x: 1 / (1 + mp.exp(-x))
FUNCTIONS = {
    "exp": (mp.exp, SMALL + list(between(-746, 709.7, 150)) + list(between(-3, 3, 50))),
    "log": (mp.log, [abs(x) for x in ALL] + list(between(0.3, 3, 100))),
    "sin": (mp.sin, CIRCLE),
    "cos": (mp.cos, CIRCLE),
    "tan": (mp.tan, CIRCLE),
    "asin": (mp.asin, SMALL + list(between(-1, 1, 120))),
    "acos": (mp.acos, SMALL + list(between(-1, 1, 120))),
    "atan": (mp.atan, ALL + list(between(-4, 4, 120))),
    "sinh": (mp.sinh, SMALL + list(between(-710, 710, 60)) + list(between(-30, 30, 100)) + list(between(-2, 2, 60))),
    "cosh": (mp.cosh, SMALL + list(between(-710, 710, 60)) + list(between(-30, 30, 100)) + list(between(-2, 2, 60))),
    "tanh": (mp.tanh, ALL + list(between(-20, 20, 60)) + list(between(-2, 2, 80))),
    "asinh": (mp.asinh, ALL + list(between(-4, 4, 120))),
    "acosh": (mp.acosh, list(every(0, 1024, 8, (1,))) + list(between(1, 3, 80)) + [1 + 2.0**-i for i in range(1, 52)]),
    "atanh": (mp.atanh, SMALL + list(between(-1, 1, 120)) + [1 - 2.0**-i for i in range(2, 53, 2)]),
    "erf": (mp.erf, SMALL + list(between(-6.5, 6.5, 150))),
    "sigmoid": (sigmoid, SMALL + list(between(-745, 40, 120)) + list(between(-40, 40, 80))),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), SMALL + list(between(-745, 40, 120)) + list(between(-4, 4, 80))),
    "expm1": (mp.expm1, SMALL + list(between(-50, 709.7, 120)) + list(between(-3, 3, 100))),
}
only = sys.argv[1:]
for name, (function, xs) in FUNCTIONS.items():
    if only and name not in only:
        continue
    for x in xs:
        found = nearest(function(mp.mpf(x)))
        if found is not None and not isinstance(found[0], complex):
            print(f"{name} {bits(x):016x} {bits(found[0]):016x} {found[1]}")
