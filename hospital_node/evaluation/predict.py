"""A stranger's model in its own process: prepared images in, finite predictions of the right shape out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hospital_node.evaluation.wire import LENGTHS, SEPARATOR, TEXT_BYTES, Status
from sharekit.errors import VerificationError
from sharekit.program.sandbox import Limits, Sandbox, SandboxError, open_sandbox
from sharekit.segmenter.contract import SegmenterContract
from sharekit.storage import files
from sharekit.storage.names import printable

PROGRAM = ("-m", "hospital_node.evaluation.child")
_ITEM = "submission"


class Predictor:
    """A loaded model; made by `open_predictor`."""

    def __init__(self, sandbox: Sandbox, contract: SegmenterContract, limits: Limits) -> None:
        self._sandbox = sandbox
        self._contract = contract
        self._limits = limits

    def load(self, model: bytes) -> None:
        """Have the model checked and loaded; the process has seen no image yet.

        Raises:
            VerificationError: the policy refuses it, or it cannot be loaded within the limits.
        """
        contract = files.dump_json(self._contract.to_json())
        self._sandbox.send(LENGTHS.pack(len(contract), len(model)) + contract)
        self._sandbox.send(model)
        status = self._status()
        if status is Status.REFUSED:
            text = self._sandbox.receive(TEXT_BYTES).rstrip(b"\0").decode("ascii", "replace")
            expected, _, found = text.partition(SEPARATOR)
            _refuse(_one_line(expected), _one_line(found))
        self._require_done(status)

    def predict(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's raw output `(K, h, w)` for one prepared image `(C, h, w)`.

        Raises:
            VerificationError: it cannot be run within the limits, or its output is not finite.
        """
        shape = (len(self._contract.classes), *self._contract.size)
        self._sandbox.send(np.ascontiguousarray(image, "<f4").tobytes())
        self._require_done(self._status())
        data = self._sandbox.receive(4 * int(np.prod(shape)))
        prediction = np.frombuffer(data, "<f4").reshape(shape)
        if not np.isfinite(prediction).all():
            _refuse("finite predictions", "NaN or an infinity")
        return prediction

    def _status(self) -> Status:
        (number,) = self._sandbox.receive(1)
        if number not in set(Status):
            _refuse("an answer in the node's own form", "another")
        return Status(number)

    def _require_done(self, status: Status) -> None:
        if status is not Status.DONE:
            expected = {
                Status.OUT_OF_MEMORY: f"a model that runs in {self._limits.memory_mib} MiB of address space",
                Status.OTHER_SHAPE: "an output of the contract's shape, float32",
            }
            _refuse(expected.get(status, "a model that ONNX Runtime loads and runs"), status.name.lower())


@contextlib.contextmanager
def open_predictor(
    model: bytes, contract: SegmenterContract, limits: Limits, *, threads: int
) -> Iterator[Predictor]:
    """A model, checked and loaded in a process of its own for the length of the block.

    Raises:
        VerificationError: the policy refuses the model, it cannot be loaded or run within the limits, or its
            process does not answer as it should. The error holds nothing of the hospital.
    """
    try:
        with open_sandbox(PROGRAM, limits, [str(threads)]) as sandbox:
            predictor = Predictor(sandbox, contract, limits)
            predictor.load(model)
            yield predictor
    except SandboxError as error:
        _refuse("a model that runs within the node's limits of time and memory", str(error))


def _refuse(expected: str, found: str) -> NoReturn:
    raise VerificationError(
        _ITEM, expected=expected, found=found, next_step="mend the model, pack it again and ask anew"
    )


def _one_line(text: str) -> str:
    return printable(text.replace("\n", " ")) or "nothing"
