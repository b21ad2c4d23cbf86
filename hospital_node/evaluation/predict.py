"""A stranger's model in its own process: prepared images in, finite predictions of the right shape out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from hospital_node.evaluation.wire import LENGTHS, SEPARATOR, TEXT_BYTES, Status
from sharekit.errors import PolicyError, VerificationError
from sharekit.program.confinement import ESSENTIAL, Layer
from sharekit.program.sandbox import Limits, Sandbox, SandboxError, open_sandbox
from sharekit.segmenter.contract import SegmenterContract
from sharekit.storage import files
from sharekit.storage.names import printable

PROGRAM = ("-m", "hospital_node.evaluation.child")
GREY = 127
"""Value of every pixel of the image that a model must answer before it sees a hospital's image."""
_ITEM = "submission"


class Predictor:
    """A loaded model; made by `open_predictor`."""

    def __init__(
        self, model: bytes, contract: SegmenterContract, limits: Limits, *, threads: int, steps: int
    ) -> None:
        self._model = model
        self._contract = contract
        self._limits = limits
        self._threads = threads
        self._steps = steps
        self._processes = contextlib.ExitStack()
        self._sandbox: Sandbox | None = None
        self.layers = Layer(0)
        """What confines the process."""
        self.failures = 0
        """Images without a sound answer."""

    def load(self, required: Layer = ESSENTIAL) -> None:
        """Start a process, and have the model checked, loaded and tried on a grey image.

        Raises:
            PolicyError: a layer of `required` is missing; the process was sent nothing.
            VerificationError: the policy refuses the model, or it does not run within the limits.
        """
        arguments = [str(self._threads), str(self._limits.cpu_seconds)]
        # Loading, the grey image and every image are a step each.
        opened = open_sandbox(PROGRAM, self._limits, arguments, steps=self._steps + 2)
        self._sandbox = self._processes.enter_context(opened)
        with _refusing():
            (number,) = self._sandbox.receive(1)
            self.layers = Layer(number)
            _require_layers(self.layers, required)
            contract = files.dump_json(self._contract.to_json())
            self._sandbox.send(LENGTHS.pack(len(contract), len(self._model)) + contract)
            self._sandbox.send(self._model)
            status = self._status(self._sandbox)
            if status is Status.REFUSED:
                text = self._sandbox.receive(TEXT_BYTES).rstrip(b"\0").decode("ascii", "replace")
                expected, _, found = text.partition(SEPARATOR)
                _refuse(_one_line(expected), _one_line(found))
            self._require_done(status)
        grey = np.full((*self._contract.size, self._contract.image_channels), GREY, np.uint8)
        self.predict(self._contract.prepare(grey))

    def predict(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's raw output `(K, h, w)` for one prepared image `(C, h, w)`.

        Raises:
            VerificationError: it does not run within the limits, or its output is not finite.
        """
        if self._sandbox is None:
            raise ValueError("no process: load the model first")
        shape = (len(self._contract.classes), *self._contract.size)
        with _refusing():
            self._sandbox.begin_step()
            self._sandbox.send(np.ascontiguousarray(image, "<f4").tobytes())
            self._require_done(self._status(self._sandbox))
            data = self._sandbox.receive(4 * int(np.prod(shape)))
        prediction = np.frombuffer(data, "<f4").reshape(shape)
        if not np.isfinite(prediction).all():
            _refuse("finite predictions", "NaN or an infinity")
        return prediction

    def answer(self, image: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """As `predict`, but None where there is no sound answer; the next image gets a new process.

        So what a model does on one image changes the answer for that image alone.

        Raises:
            VerificationError: the model was loaded before and can no longer be loaded.
        """
        if self._sandbox is None:
            self.load(self.layers)
        try:
            return self.predict(image)
        except VerificationError:
            self.failures += 1
            self.close()
            return None

    def close(self) -> None:
        """End the process."""
        self._sandbox = None
        self._processes.close()

    def _status(self, sandbox: Sandbox) -> Status:
        (number,) = sandbox.receive(1)
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
    model: bytes,
    contract: SegmenterContract,
    limits: Limits,
    *,
    threads: int,
    images: int = 1,
    required: Layer = ESSENTIAL,
) -> Iterator[Predictor]:
    """A model, checked, loaded and tried in a process of its own for the length of the block.

    Args:
        model: the ONNX file's bytes.
        contract: contract of its input and output.
        limits: limits of the process.
        threads: number of ONNX Runtime's threads.
        images: how many it will be asked about.
        required: what must confine the process.

    Raises:
        PolicyError: this machine cannot confine the process so.
        VerificationError: the policy refuses the model, or it does not run within the limits. The error holds
            nothing of the hospital.
    """
    predictor = Predictor(model, contract, limits, threads=threads, steps=images)
    with contextlib.closing(predictor):
        predictor.load(required)
        yield predictor


def _require_layers(active: Layer, required: Layer) -> None:
    if missing := required & ~active:
        raise PolicyError(
            "process of the submitted model",
            expected=f"a process confined by: {', '.join(required.labels)}",
            found=f"this machine does not allow: {', '.join(missing.labels)}",
            next_step="evaluate on Linux (x86-64 or ARM64) where programs may install seccomp filters; "
            "for a submitter that you trust, add --weak-confinement",
        )


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Refuse the model of a process that fails."""
    try:
        yield
    except SandboxError as error:
        _refuse("a model that runs within the node's limits of time and memory", str(error))


def _refuse(expected: str, found: str) -> NoReturn:
    raise VerificationError(
        _ITEM, expected=expected, found=found, next_step="fix the model, pack it again and ask again"
    )


def _one_line(text: str) -> str:
    return printable(text.replace("\n", " ")) or "nothing"
