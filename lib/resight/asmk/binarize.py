"""Signs of vectors as packed bits (Tolias, Avrithis, Jégou, IJCV 2015, section 4).

A component that is zero or positive is a one: of two codes that disagree, the sign of the sum is their OR.
Bit i of a code is component i, the lowest bit of a byte first.
"""

import numpy as np

__all__ = ["binarize", "code_bytes", "count_differences", "unpack_codes"]

BLOCK_BYTES = 64 << 20  # of differences that are counted together


def code_bytes(n_bits: int) -> int:
    """Bytes of a code of ``n_bits``; the bits beyond are zero."""
    return -(-n_bits // 8)


def binarize(Z: np.ndarray) -> np.ndarray:
    """Pack the signs of ``Z`` (n, b): (n, ceil(b / 8)) uint8; ``b(z)_i = +1 if z_i >= 0 else -1``."""
    return np.packbits(Z >= 0, axis=1, bitorder="little")


def unpack_codes(codes: np.ndarray, n_bits: int) -> np.ndarray:
    """Give the signs (n, n_bits) int8, +1 or -1, of ``codes`` (n, ceil(n_bits / 8)) uint8."""
    if codes.ndim != 2 or codes.shape[1] != code_bytes(n_bits):
        raise ValueError(
            f"codes have shape {codes.shape}, expected (n, {code_bytes(n_bits)}) for {n_bits} bits"
        )
    bits = np.unpackbits(codes, axis=1, count=n_bits, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def count_differences(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Hamming distances (n, m) int16 of the packed codes ``A`` (n, w) and ``B`` (m, w) uint8."""
    left, right = (pad_words(codes) for codes in (A, B))
    out = np.empty((len(A), len(B)), np.int16)
    step = max(1, BLOCK_BYTES // max(1, right.nbytes))
    for i in range(0, len(A), step):
        different = left[i : i + step, None, :] ^ right[None, :, :]
        out[i : i + step] = np.bitwise_count(different).sum(-1, dtype=np.int16)
    return out


def pad_words(codes: np.ndarray) -> np.ndarray:
    """View codes (n, w) uint8 as (n, ceil(w / 8)) uint64, zeros added."""
    n, w = codes.shape
    wide = np.zeros((n, -(-w // 8) * 8), np.uint8)
    wide[:, :w] = codes
    return wide.view(np.uint64)
