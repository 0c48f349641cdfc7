"""The peak throughput of GPUs, as NVIDIA's data sheets state it for dense matrices."""

from typing import Literal, NamedTuple

Arithmetic = Literal["float32", "tf32", "bfloat16"]


class Peak(NamedTuple):
    """Peak throughput in TFLOP/s; None for arithmetic that the GPU does not have.

    Attributes:
        float32: of 32-bit floating point outside of tensor cores.
        tf32: of tensor cores in TF32, which convolutions use by default.
        bfloat16: of tensor cores in bfloat16.
    """

    float32: float
    tf32: float | None
    bfloat16: float | None


PEAKS: dict[str, Peak] = {
    "H200": Peak(67.0, 494.5, 989.5),  # H200 data sheet, SXM; halved where it states sparse matrices
    "H100 80GB HBM3": Peak(67.0, 494.5, 989.5),  # H100 data sheet, SXM; halved where it states sparse matrices
    "A100": Peak(19.5, 156.0, 312.0),  # A100 data sheet
    "RTX A6000": Peak(38.7, 77.4, 154.8),  # NVIDIA Ampere GA102 architecture whitepaper
    "A10": Peak(31.2, 62.5, 125.0),  # A10 data sheet
    "V100-SXM2": Peak(15.7, None, None),  # V100 data sheet
    "T4": Peak(8.1, None, None),  # T4 data sheet
}
"""Peaks by a part of the name that CUDA gives the device. The longest part that fits counts."""


def peak_of(device_name: str, arithmetic: Arithmetic) -> float | None:
    """The peak of a GPU in TFLOP/s; None if it is not known."""
    words = device_name.replace("NVIDIA ", "").replace("Tesla ", "")
    fitting = [name for name in PEAKS if words == name or words.startswith((f"{name} ", f"{name}-"))]
    return getattr(PEAKS[max(fitting, key=len)], arithmetic) if fitting else None
