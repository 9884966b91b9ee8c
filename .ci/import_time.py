"""Fail if `import pysig` in a fresh interpreter takes longer than its limit."""

import subprocess
import sys

LIMIT = 0.15  # seconds, NumPy included
REPETITIONS = 11
PROGRAM = """
from time import perf_counter
start = perf_counter()
import {}
print(perf_counter() - start)
"""


def shortest_time(module):
    """Return the shortest time of several fresh interpreters: what else runs only adds to it."""
    command = [sys.executable, "-c", PROGRAM.format(module)]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(REPETITIONS)
    ]
    return min(times)


whole, numpy = shortest_time("pysig"), shortest_time("numpy")
print(f"import pysig: {whole:.3f} s, of which NumPy {numpy:.3f} s (limit {LIMIT} s)")
sys.exit(whole > LIMIT)
