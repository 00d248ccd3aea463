"""Pack the digits of `rsg quality` from the file that UCI publishes.

    python tools/pack_digits.py optdigits.tes

`optdigits.tes` is the test part of *Optical Recognition of Handwritten Digits* (E. Alpaydin, C. Kaynak, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0). The result is the same bytes, compressed; its digest is in
`ready_steady_go/training/tasks.py`.
"""

import gzip
import hashlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "ready_steady_go/training"


def packed(data):
    "Return the rows, compressed without a time: 64 pixels and the digit, and a newline after each."
    lines = data.decode().split()
    if len(lines) != 1797 or any(line.count(",") != 64 for line in lines): raise SystemExit("expected 1797 lines of 65 numbers")
    rows = "".join(f"{line}\n" for line in lines).encode()
    print(hashlib.sha256(rows).hexdigest(), f"{len(rows):,} bytes")
    return gzip.compress(rows, 9, mtime=0)


if __name__ == "__main__":
    (FOLDER / "digits.csv.gz").write_bytes(packed(Path(sys.argv[1]).read_bytes()))
