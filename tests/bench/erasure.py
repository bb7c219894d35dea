"""Compares the speed of erasure codes with ISA-L's and liberasurecode's own, in one run on one core.

    cargo build --release -p apus-erasure --example erasure_speed
    target/venv/bin/python tests/bench/erasure.py target/release/examples/erasure_speed

Prints GB of segments of 1 MiB a second, the best of many rounds. `parity` is the arithmetic alone (of ISA-L,
`ec_encode_data`), `encode` and `decode` have copies and headers (of PyECLib also the objects of Python); as many data
fragments are lost as there are parities.
"""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyeclib
from pyeclib.ec_iface import ECDriver

SEGMENT_BYTES = 1 << 20
ROUNDS = 400
SHAPES = [(4, 2), (10, 4)]
TYPES = ["isa_l_rs_vand", "isa_l_rs_cauchy", "isa_l_rs_vand_inv", "liberasurecode_rs_vand"]
LIBRARIES = Path(pyeclib.__file__).parent.parent / "pyeclib.libs"


def best(work: Callable[[], object]) -> float:
    fastest = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - began)
    return SEGMENT_BYTES / fastest / 1e9


def isa_l_parity(kind: str, k: int, m: int) -> float:
    """ISA-L's arithmetic alone, called directly."""
    isa_l = ctypes.CDLL(str(LIBRARIES / "libisal-pyeclib.so.2"))
    matrix = ctypes.create_string_buffer((k + m) * k)
    tables = ctypes.create_string_buffer(32 * k * m)
    generate = isa_l.gf_gen_cauchy1_matrix if "cauchy" in kind else isa_l.gf_gen_rs_matrix
    generate(matrix, k + m, k)
    isa_l.ec_init_tables(k, m, ctypes.byref(matrix, k * k), tables)
    length = -(-SEGMENT_BYTES // k)
    blocks = [ctypes.create_string_buffer(os.urandom(length), length) for _ in range(k + m)]
    data = (ctypes.c_void_p * k)(*map(ctypes.addressof, blocks[:k]))
    parity = (ctypes.c_void_p * m)(*map(ctypes.addressof, blocks[k:]))
    return best(lambda: isa_l.ec_encode_data(length, k, m, tables, data, parity))


def theirs(kind: str, k: int, m: int) -> tuple[float, float]:
    driver = ECDriver(ec_type=kind, k=k, m=m)
    segment = os.urandom(SEGMENT_BYTES)
    fragments = driver.encode(segment)
    left = fragments[min(k, m) :]
    return best(lambda: driver.encode(segment)), best(lambda: driver.decode(left))


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{'code':30} {'by':12} {'parity':>7} {'encode':>7} {'decode':>7}")
    for k, m in SHAPES:
        for kind in TYPES:
            code = f"{kind} {k}+{m}"
            ours = subprocess.run([sys.argv[1], kind, str(k), str(m)], check=True, stdout=subprocess.PIPE, text=True)
            for line in ours.stdout.splitlines():
                kernel, *speeds = line.split()
                print(f"{code:30} {kernel:12} " + " ".join(f"{speed:>7}" for speed in speeds))
            parity = f"{isa_l_parity(kind, k, m):7.2f}" if kind.startswith("isa_l") else " " * 7
            encode, decode = theirs(kind, k, m)
            print(f"{code:30} {'PyECLib':12} {parity} {encode:7.2f} {decode:7.2f}")


main()
