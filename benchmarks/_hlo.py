"""Reading a compiled program: from XLA's text, the kernels of a training step, what they move and what they compute.

The text is what ``jax.stages.Compiled.as_text`` gives: one computation after another, each a list of operations. A
loop is a ``while`` with a body; a fusion is one kernel, and calls a computation that says what it does. On a GPU an
operation is a kernel that is launched; on a TPU it is a part of one program, and its line has the compiler's estimate
of cycles.

Bytes are those of main memory: arrays that a TPU keeps on the chip (memory space ``S(1)``) are not counted, tiles are
counted whole, and of an array of which an operation takes some rows only those rows are.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

_BITS = {"pred": 8, "token": 0}  # of types whose name does not end in their width
_FREE = frozenset({"after-all", "bitcast", "constant", "get-tuple-element", "parameter", "partition-id", "tuple"})
_SLICES = frozenset({"dynamic-slice", "gather", "slice"})
_MOVES = _SLICES | {
    "broadcast",
    "concatenate",
    "convert",
    "copy",
    "copy-start",
    "slice-start",
    "dynamic-update-slice",
    "pad",
    "reshape",
    "reverse",
    "transpose",
}
_PRODUCTS = ("convolution", "dot")
_COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)


@dataclass(frozen=True)
class Array:
    """The shape of one array.

    Attributes:
        dtype: XLA's name of it.
        dims: its size along each axis.
        layout: what stands in braces behind them: order of the axes, tiles, memory space.
    """

    dtype: str
    dims: tuple[int, ...]
    layout: str = ""

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Of main memory, tiles that are not full included; 0 for an array that is kept on the chip."""
        if (space := re.search(r"S\((\d+)\)", self.layout)) and space[1] != "0":
            return 0
        order = [int(axis) for axis in re.findall(r"\d+", self.layout.partition(":")[0])]
        physical = [self.dims[axis] for axis in reversed(order)] if len(order) == len(self.dims) else list(self.dims)
        if tile := re.search(r"T\(([\d,]+)\)", self.layout):
            for back, side in enumerate(reversed([int(each) for each in tile[1].split(",")]), start=1):
                if back <= len(physical):
                    physical[-back] = math.ceil(physical[-back] / side) * side
        width = re.search(r"\d+", self.dtype)
        return math.prod(physical) * (_BITS[self.dtype] if self.dtype in _BITS else int(width[0]) if width else 0) // 8


def arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a shape as it is written, one or a tuple of them."""
    found = re.findall(r"\b([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?", text)
    return tuple(Array(dtype, tuple(map(int, filter(None, dims.split(",")))), layout) for dtype, dims, layout in found)


@dataclass(frozen=True)
class Operation:
    """One line of a computation.

    Attributes:
        name: of its result.
        shape: of its result.
        opcode: what it does.
        operands: names of what it is given; of a parameter its number and of a constant its value, as they are written.
        rest: of the line: attributes, where it comes from, and what the backend chose.
        root: whether it is the result of its computation.
    """

    name: str
    shape: tuple[Array, ...]
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None

    @property
    def source(self) -> str:
        """Which part of the traced program it comes from, without what all parts have in common."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        path = found[1].split(";")[0].rpartition("closed_call/")[2] if found else ""
        return re.sub(r"^jit\(\w+\)/|(?:shard_map|vmap\(\)|while|body)/", "", path)

    @property
    def cycles(self) -> int:
        """The compiler's estimate, where it has one."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Cost:
    """What a part of a program does, each time it runs.

    Attributes:
        kernels: operations.
        read, written: bytes of main memory.
        operations: of floating-point numbers in products of matrices, 2 for a multiplication and addition.
        cycles: the compiler's estimate (of a TPU).
    """

    kernels: int = 0
    read: int = 0
    written: int = 0
    operations: int = 0
    cycles: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))

    def times(self, turns: int) -> "Cost":
        """Of so many turns."""
        return Cost(*(turns * each for each in vars(self).values()))

    @property
    def bytes(self) -> int:
        """Read and written."""
        return self.read + self.written


@dataclass(frozen=True)
class Kernel:
    """An operation of a step, for people.

    Attributes:
        name: XLA's.
        kind: ``product`` if it multiplies matrices, ``padding`` if it makes room with zeros, ``copy`` if it only moves
            numbers about, ``loop``, or ``other``.
        shape: of what it makes.
        source: which part of the traced program it comes from.
        cost: of all its turns in a step.
    """

    name: str
    kind: str
    shape: tuple[Array, ...]
    source: str
    cost: Cost


class Module:
    """A compiled program.

    Attributes:
        computations: the operations of each, in order.
        operations: all of them, by their names, of which a module has each once.
        entry: the computation that begins.
    """

    def __init__(self, text: str) -> None:
        """Read one.

        Args:
            text: XLA's, of an optimized module.
        """
        self.computations: dict[str, list[Operation]] = {}
        self.entry = ""
        current: list[Operation] | None = None
        for line in text.splitlines():
            if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line):
                current = self.computations[head[2]] = []
                if head[1]:
                    self.entry = head[2]
            elif line.startswith("}"):
                current = None
            elif current is not None and (operation := _operation(line)):
                current.append(operation)
        if not self.entry:
            raise ValueError("the text has no computation marked ENTRY: expected that of a compiled module")
        self.operations = {each.name: each for inside in self.computations.values() for each in inside}

    # The step

    @cached_property
    def loops(self) -> dict[str, Operation]:
        """The loops of the program, by the name of their body."""
        found = [each for each in self.operations.values() if each.opcode == "while"]
        return {body: each for each in found if (body := each.called("body"))}

    @cached_property
    def step(self) -> str:
        """The computation that is a step: the body of the loop whose own products are the largest, or the whole."""
        own = {
            body: sum(self._multiplied(each) for each in self._working(body) if each.opcode != "while")
            for body in self.loops
        }
        best = max(own, key=lambda body: own[body], default=None)
        return best if best is not None and own[best] else self.entry

    def kernels(self, computation: str) -> list[Kernel]:
        """The operations of a computation, in order; a loop in it is one, with what all its turns cost."""
        return [
            Kernel(each.name, self._kind(each), each.shape, each.source, self._cost(each))
            for each in self._working(computation)
        ]

    @cached_property
    def collectives(self) -> list[str]:
        """Names of operations in which devices wait for each other, of the whole program."""
        return [each.name for each in self.operations.values() if each.opcode.removesuffix("-start") in _COLLECTIVES]

    def turns(self, loop: Operation) -> int | None:
        """How often a loop turns, where that is known."""
        if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        within = list(self._deep(self.computations.get(loop.called("condition") or "", [])))
        bounds = {each.operands[0] for each in within if each.opcode == "constant" and each.shape[0].size == 1}
        below = any("direction=LT" in each.rest for each in within)
        return int(bounds.pop()) if below and len(bounds) == 1 else None

    # What it costs

    def cost(self, computation: str) -> Cost:
        """Of one run of a computation, loops in it included; one that does not say how often it turns counts once."""
        return sum(map(self._cost, self._working(computation)), Cost())

    def _working(self, computation: str) -> Iterator[Operation]:
        """Operations that do something; in place of a call those that it calls."""
        for operation in self.computations[computation]:
            called = operation.called("to_apply") or operation.called("calls")
            if called and operation.opcode in ("call", "async-start"):
                yield from self._working(called)
            elif not (operation.opcode in _FREE or operation.opcode.endswith(("-done", "-update")) or _room(operation)):
                yield operation

    def _deep(self, operations: Iterable[Operation]) -> Iterator[Operation]:
        """Operations, and those of the fusions among them."""
        for each in operations:
            yield each
            if each.opcode == "fusion":
                yield from self._deep(self._fused(each))

    def _fused(self, fusion: Operation) -> list[Operation]:
        return self.computations[fusion.called("calls") or ""]

    def _cost(self, operation: Operation) -> Cost:
        if operation.opcode == "while":
            return self.cost(operation.called("body") or "").times(self.turns(operation) or 1)
        if operation.opcode == "conditional":
            said = re.search(r"branch_computations=\{([^}]*)\}", operation.rest)
            names = re.findall(r"[\w.\-]+", said[1]) if said else []
            names += filter(None, map(operation.called, ("true_computation", "false_computation")))
            return max(map(self.cost, names), key=lambda cost: (cost.bytes, cost.kernels))
        return Cost(1, self._read(operation), self._written(operation), self._multiplied(operation), operation.cycles)

    def _read(self, operation: Operation) -> int:
        if operation.opcode == "fusion":
            given = [self._bytes(name) for name in operation.operands]
            return sum(min(size, self._taken(operation, place)) for place, size in enumerate(given))
        if operation.opcode == "dynamic-update-slice":
            return self._bytes(operation.operands[1])
        if operation.opcode == "slice-start":
            return _bytes(operation.shape[1:2], anywhere=True) if self._bytes(operation.operands[0]) else 0
        if operation.opcode in _SLICES:
            rows = _bytes(operation.shape, anywhere=True) if self._bytes(operation.operands[0]) else 0
            return rows + sum(map(self._bytes, operation.operands[1:]))
        return sum(map(self._bytes, dict.fromkeys(operation.operands)))

    def _bytes(self, name: str) -> int:
        return _bytes(self.operations[name].shape) if name in self.operations else 0

    def _taken(self, fusion: Operation, place: int) -> int:
        """How many bytes of an operand a fusion reads."""
        inside = self._fused(fusion)
        parameter = next(each for each in inside if each.opcode == "parameter" and each.operands == (str(place),))
        taken, names = 0, [parameter.name]
        while names:
            name = names.pop()
            for user in inside:
                for number in (i for i, operand in enumerate(user.operands) if operand == name):
                    if user.opcode in ("bitcast", "reshape"):
                        names.append(user.name)
                    elif user.opcode == "fusion":
                        taken += self._taken(user, number)
                    elif user.opcode in _SLICES and number == 0:
                        taken += _bytes(user.shape, anywhere=True)
                    elif not (user.opcode == "dynamic-update-slice" and number == 0):
                        return _bytes(parameter.shape, anywhere=True)
        return taken

    def _written(self, operation: Operation) -> int:
        # A copy's shape has its source too, and what tells that it is done; a product's by cuBLAS room to work in.
        if operation.opcode == "copy-start" or _library_product(operation):
            return _bytes(operation.shape[:1])
        if operation.opcode == "slice-start":  # its source first
            return _bytes(operation.shape[1:2])
        results = [operation]
        if operation.opcode == "fusion":
            root = next(each for each in self._fused(operation) if each.root)
            results = [self.operations[name] for name in root.operands] if root.opcode == "tuple" else [root]
        if len(results) != len(operation.shape):
            return _bytes(operation.shape)
        return sum(self._changed(result, array) for result, array in zip(results, operation.shape, strict=True))

    def _changed(self, result: Operation, array: Array) -> int:
        """Bytes of an array that is written, perhaps some rows of it alone, in place."""
        while result.opcode == "bitcast":
            result = self.operations[result.operands[0]]
        if result.opcode == "dynamic-update-slice" and array.bytes:
            return _bytes(self.operations[result.operands[1]].shape, anywhere=True)
        return array.bytes

    def _multiplied(self, operation: Operation) -> int:
        """Operations of the products in it."""
        if operation.opcode == "fusion":
            return sum(map(self._multiplied, self._fused(operation)))
        if operation.opcode == "dot":
            left = self.operations[operation.operands[0]].shape[0]
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", operation.rest)
            axes = contracted[1].split(",") if contracted else []
            return 2 * operation.shape[0].size * math.prod(left.dims[int(axis)] for axis in axes if axis)
        if operation.opcode == "convolution":
            return _convolved(operation, *(self.operations[name].shape[0] for name in operation.operands[:2]))
        if _own_kernel(operation):  # those of mlp_jax multiply their first two operands, and each number of the first
            left, right = (self.operations[name].shape[0] for name in operation.operands[:2])
            return 2 * left.size * right.dims[-1]
        if _library_product(operation):
            left = self.operations[operation.operands[0]].shape[0]
            inner = re.search(r'"lhs_contracting_dimensions":\["?(\d+)', operation.rest)
            return 2 * operation.shape[0].size * left.dims[int(inner[1])] if inner else 0
        return 0

    def _kind(self, operation: Operation) -> str:
        if operation.opcode == "while":
            return "loop"
        inside = [each for each in self._deep([operation]) if each.opcode not in (*_FREE, "fusion")]
        opcodes = {each.opcode for each in inside}
        if opcodes & {*_PRODUCTS} or any(_library_product(each) or _own_kernel(each) for each in inside):
            return "product"
        if "pad" in opcodes:
            return "padding"
        return "copy" if opcodes <= _MOVES else "other"


def _operation(line: str) -> Operation | None:
    found = re.match(r"\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)(\(.*)", line)
    if not found:
        return None
    root, name, shape, opcode, rest = found.groups()
    depths = itertools.accumulate((letter == "(") - (letter == ")") for letter in rest)
    end = next((place for place, depth in enumerate(depths) if depth == 0), len(rest))
    operands = tuple(re.findall(r"%([\w.\-]+)", rest[:end]))
    if opcode in ("constant", "parameter"):
        operands = (rest[1:end],)
    return Operation(name, arrays(shape), opcode, operands, rest[end + 1 :], bool(root))


def _bytes(shape: Sequence[Array], anywhere: bool = False) -> int:
    """Of some arrays; ``anywhere``: where they are part of a fusion, and so in no memory of their own."""
    if anywhere:
        shape = [Array(each.dtype, each.dims, re.sub(r"S\(\d+\)", "", each.layout)) for each in shape]
    return sum(each.bytes for each in shape)


def _room(operation: Operation) -> bool:
    """Whether it is only a place in memory."""
    return operation.opcode == "custom-call" and 'custom_call_target="AllocateBuffer"' in operation.rest


def _own_kernel(operation: Operation) -> bool:
    """Whether it is a kernel written in Pallas for a GPU."""
    return operation.opcode == "custom-call" and 'custom_call_target="__gpu$xla.gpu.triton"' in operation.rest


def _library_product(operation: Operation) -> bool:
    """Whether it is a product by cuBLAS."""
    return operation.opcode == "custom-call" and 'custom_call_target="__cublas' in operation.rest


def _convolved(operation: Operation, left: Array, right: Array) -> int:
    """Operations of a convolution, as which a TPU has its products: those with zeros between elements not counted."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", operation.rest)
    if not labels:
        return 0
    of_left, of_right, of_out = labels.groups()
    window = re.search(r"window=\{([^}]*)\}", operation.rest)
    said = dict(re.findall(r"(\w+)=(\S+)", window[1])) if window else {}

    def each(name: str, default: str) -> list[str]:
        return said[name].split("x") if name in said else [default] * len(said.get("size", "").split("x"))

    taps = 1
    for axis, *sizes in zip(range(9), each("size", "1"), each("stride", "1"), each("pad", "0_0"), strict=False):
        if not said:
            break
        size, stride, pad = sizes
        spread, apart = (int(each(name, "1")[axis]) for name in ("lhs_dilate", "rhs_dilate"))
        length, low = left.dims[of_left.index(str(axis))], int(pad.split("_")[0])
        taps *= sum(
            0 <= place < (length - 1) * spread + 1 and place % spread == 0
            for out in range(operation.shape[0].dims[of_out.index(str(axis))])
            for place in (out * int(stride) + tap * apart - low for tap in range(int(size)))
        )
    other = operation.shape[0].dims[of_out.index("b")] * operation.shape[0].dims[of_out.index("f")]
    return 2 * other * right.dims[of_right.index("i")] * taps
