"""Forms: how a backend's compiler wants a step of training to be written.

The same arithmetic can be written in several ways, and compilers for a CPU, a GPU and a TPU make fast programs of
different ones (benchmarks/accelerators.py reads which). What a sweep computes is the same in all of them but for
rounding.
"""

import os
from dataclasses import dataclass, replace
from typing import Literal

import jax


@dataclass(frozen=True)
class Forms:
    """What a compiler makes fast.

    Attributes:
        columns: the columns that training reads are padded with zeros to a multiple of this.
        row: and the rows of the examples, as they lie on the device, to a multiple of this.
        whole_rows: whether a minibatch takes whole rows of the examples, and leaves columns out afterwards.
        joint: how the second layers of networks of different widths are multiplied: ``apart``, a product for each
            width; ``padded``, a batch of products as wide as the widest; ``blocks``, one product with a matrix that has
            the layers' weights on its diagonal and zeros elsewhere.
        classes_apart: whether what is done over few classes is written out, class by class.
        ahead: whether what depends on a step's number alone is computed for all steps of an epoch beforehand.
        in_place: whether an epoch's state takes the place of the last one's in memory, as it was offered to.
        chip: bytes on the chip, for which the compiler makes a copy of the state all the same, to move parts of it
            there and back; in which most of what else a step needs lies while there is room. 0 if it does neither.
        kernels: whether what compilers make several kernels of has one that is written by hand, ``compiled``, or
            ``interpreted`` where there is no compiler for it; see ``forms_of``.
        sums_last: whether losses are added up example by example during an epoch, and over examples at its end.
    """

    columns: int = 1
    row: int = 1
    whole_rows: bool = False
    joint: Literal["apart", "padded", "blocks"] = "apart"
    classes_apart: bool = False
    ahead: bool = False
    in_place: bool = False
    chip: int = 0
    kernels: Literal["", "compiled", "interpreted"] = ""
    sums_last: bool = False


CPU = Forms()
FORMS = {
    "cpu": CPU,
    "gpu": Forms(
        columns=32, joint="padded", classes_apart=True, ahead=True, in_place=True, kernels="compiled", sums_last=True
    ),
    "tpu": Forms(
        columns=128, row=128, whole_rows=True, joint="blocks", ahead=True, in_place=True, chip=128 << 20, sums_last=True
    ),
}
"""By ``jax.Device.platform``."""

OLDEST = 8.0
"""Compute capability of the GPUs from which on Triton compiles for them."""


def forms_of(device: jax.Device) -> Forms:
    """What a device's compiler makes fast.

    Kernels written by hand are left out with MLP_JAX_KERNELS=0 in the environment, and on GPUs that Triton is not for.
    """
    forms = FORMS.get(device.platform, CPU)
    able = float(getattr(device, "compute_capability", OLDEST)) >= OLDEST
    return forms if able and os.environ.get("MLP_JAX_KERNELS") != "0" else replace(forms, kernels="")
