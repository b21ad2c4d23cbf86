"""Readers of outside files: twice the input is twice the work.

Work is processor time, of which a busy machine takes nothing away. Four times the input may take at most
eight times as long; a quadratic reader takes sixteen times.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from consumer.datasets import reader
from hospital_node.candidate.build import build_onnx
from sharekit.bundle import manifest
from sharekit.errors import SharekitError
from sharekit.generator.onnx_policy import check_generator
from sharekit.signing import keys, oms
from sharekit.storage import files, names, schema, stored_zip
from sharekit.storage.protobuf_fields import count_fields
from tests.sharekit.test_budget import ROOMY, one_key_repeated
from tests.sharekit.test_protobuf_fields import empty_nodes
from tests.sharekit.test_schema import MINIMAL, UNIQUE
from tests.tiny import tiny_generator

KEY = keys.generate()
Work = Callable[[], Any]


def seconds(work: Work) -> float:
    """Processor time of what may be refused, the least of two; without Python's walks through all objects."""
    times = []
    gc.disable()
    for _ in range(2):
        started = time.process_time()
        with contextlib.suppress(SharekitError):
            work()
        times.append(time.process_time() - started)
    gc.enable()
    return min(times)


def parsing(data: bytes) -> Work:
    return functools.partial(files.parse_json, data, "x")


def json_lines(count: int) -> Work:
    data = b'{"a": [1, 2]}\n' * count
    return lambda: list(files.parse_json_lines(data, "x", ROOMY, ROOMY))


def unique(items: list[Any]) -> Work:
    return functools.partial(UNIQUE.is_valid, items)


def unique_of_mixed_types(count: int) -> Work:
    return unique([value for number in range(count) for value in (number, str(number))])


def manifest_of(count: int) -> Work:
    entry, file = MINIMAL["generators"][0], MINIMAL["files"][0]
    identifiers = [f"{number:032x}" for number in range(count)]
    paths = [f"generators/{identifier}.onnx" for identifier in identifiers]
    value = MINIMAL | {
        "files": [{**file, "path": path} for path in paths],
        "generators": [
            {**entry, "file": path, "spec": {**entry["spec"], "id": identifier}}
            for path, identifier in zip(paths, identifiers, strict=True)
        ],
    }
    return functools.partial(manifest.parse, json.dumps(value).encode())


def manifest_with_unknown_keys(count: int) -> Work:
    value = MINIMAL | {str(number): 0 for number in range(count)}
    return lambda: schema.validate("manifest", value, "x")


def signature_of(count: int) -> Work:
    data = oms.sign("m", {f"{number:06}": "0" * 64 for number in range(count)}, KEY)
    return lambda: oms.verify(data, [KEY.public])


def directory_of_a_zip(count: int) -> Work:
    file = io.BytesIO()
    writer = stored_zip.Writer(file)
    for number in [*range(count), count - 1]:
        writer.add(f"f{number}", b"")
    writer.close()
    return lambda: stored_zip.read_entries(Path("x.zip"), file)


def generator_of(scales: int) -> Work:
    data = build_onnx(tiny_generator(sizes=((5, 5),) * scales))
    return lambda: check_generator(data, "x")


READERS: dict[str, tuple[int, Callable[[int], Work]]] = {
    "JSON with a repeated key": (10_000, lambda n: parsing(one_key_repeated(n))),
    "JSON of one key only": (20_000, lambda n: parsing(b"{" + b'"z":0,' * n + b'"z":0}')),
    "JSON of many values": (20_000, lambda n: parsing(b"[" + b"[]," * n + b"0]")),
    "JSON of one long string": (200_000, lambda n: parsing(b'"' + b'\\"\\\\' * n + b'"')),
    "JSON of long numbers": (100, lambda n: parsing(b"[" + (b"9" * 4000 + b",") * n + b"0]")),
    "JSON lines": (1_000, json_lines),
    "unique items of mixed types": (5_000, unique_of_mixed_types),
    "unique items with one hash": (5_000, lambda n: unique([(2**61 - 1) * i for i in range(n)])),
    "unique objects": (5_000, lambda n: unique([{"a": i} for i in range(n)])),
    "manifest": (50, manifest_of),
    "manifest of unknown keys": (20_000, manifest_with_unknown_keys),
    "signature": (1_000, signature_of),
    "ONNX fields": (5_000, lambda n: lambda: count_fields(empty_nodes(n), ModelProto.DESCRIPTOR, ROOMY)),
    "ONNX file": (8, generator_of),
    "directory of a zip": (2_500, directory_of_a_zip),
    "names": (2_500, lambda n: lambda: names.check_names([f"a{i}" for i in range(n)])),
}


@pytest.mark.parametrize("name", READERS)
def test_four_times_the_input_takes_at_most_eight_times_as_long(name: str) -> None:
    count, make = READERS[name]
    assert seconds(make(4 * count)) < 8 * seconds(make(count)) + 0.02


def test_four_times_the_metadata_takes_at_most_eight_times_as_long(tmp_path: Path) -> None:
    line = '{"file_name": "images/%06d.png", "mask_file_name": "masks/%06d.png"}\n'

    def folder(count: int) -> Path:
        (tmp_path / str(count) / "images").mkdir(parents=True)
        metadata = "".join(line % (number, number) for number in range(count))
        (tmp_path / str(count) / "metadata.jsonl").write_text(metadata)
        return tmp_path / str(count)

    few, many = (functools.partial(reader.read_folder, folder(count)) for count in (1_000, 4_000))
    assert seconds(many) < 8 * seconds(few) + 0.02
