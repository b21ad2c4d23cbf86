"""Nothing real in finished bytes: each way of hiding it is found, and a clean bundle is let through."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from hospital_node.candidate.build import build_onnx
from hospital_node.leaks.needles import NEEDLE_BYTES, NeedleIndex, needles_of
from hospital_node.leaks.search import RealContent, digests_of, find_real_content, refuse_real_content
from hospital_node.leaks.views import unfold
from hospital_node.singan.config import PROFILES
from hospital_node.singan.pyramid import build_pyramid
from sharekit.errors import ExposureError
from sharekit.generator.tensors import pixels_to_tensor
from sharekit.storage import files
from tests.tiny import tiny_generator

NAME = "images/patient-mueller-001.png"
GENERATOR = "generators/0123.onnx"
CONFIG = PROFILES["quick"]


def source() -> RealContent:
    random = np.random.default_rng(3)
    y, x = np.mgrid[0:90, 0:120] / 40
    image = np.clip(
        127
        + 60 * np.stack([np.sin(y + k * x) for k in (1, 2, 3)], axis=2)
        + random.normal(0, 8, (90, 120, 3)),
        0,
        255,
    ).astype(np.uint8)
    mask = np.where((y - 1) ** 2 + (x - 1.5) ** 2 < 0.5, 255, 0).astype(np.uint8)
    levels = build_pyramid(pixels_to_tensor(np.dstack([image, mask])), CONFIG)
    noise = random.standard_normal((1, *levels[0].shape[1:])).astype(np.float32)
    return RealContent(
        "f" * 32,
        (image, mask),
        tuple(levels),
        (noise,),
        (NAME, "masks/patient-mueller-001.png"),
        ("/records/endoscopy",),
        tuple(digests_of(b"the hospital's own file")),
    )


@pytest.fixture(scope="module")
def real() -> RealContent:
    return source()


@pytest.fixture
def clean() -> dict[str, bytes]:
    """Files as a bundle has them: random weights, JSON, a card."""
    gram = np.random.default_rng(0).random((64, 64), np.float32)
    buffer = io.BytesIO()
    np.save(buffer, gram)
    return {
        "manifest.json": files.dump_json({"hospital": "Test hospital", "digests": ["ab" * 32]}),
        "CARD.md": b"# Card\n\nSee https://slsa.dev/provenance/v1 and generators/0123.onnx.\n",
        "style/conv1_1.npy": buffer.getvalue(),
        GENERATOR: build_onnx(tiny_generator()),
    }


def kinds(found: dict[str, bytes], real: RealContent) -> set[str]:
    return {finding.kind.replace(f" of {real.label}", "") for finding in find_real_content(found, [real])}


def with_initializer(data: bytes, values: np.ndarray) -> bytes:
    model = onnx.load_model_from_string(data)
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), "planted"))
    return model.SerializeToString()


def test_clean_bundle_passes(clean: dict[str, bytes], real: RealContent) -> None:
    assert find_real_content(clean, [real]) == []
    refuse_real_content(clean, [real])


def test_refusal_names_file_and_kind_but_not_the_hospitals_names(
    clean: dict[str, bytes], real: RealContent
) -> None:
    clean["CARD.md"] += NAME.encode()
    with pytest.raises(ExposureError, match=r"CARD\.md: name from the hospital") as caught:
        refuse_real_content(clean, [real])
    assert "mueller" not in str(caught.value)


def test_image_rows_as_uint8_are_found(clean: dict[str, bytes], real: RealContent) -> None:
    clean[GENERATOR] += b"x" * 3 + real.pixels[0][40:45].tobytes()
    assert "image" in kinds(clean, real)


def test_a_quarter_of_one_image_row_is_found_at_any_offset(
    clean: dict[str, bytes], real: RealContent
) -> None:
    row = real.pixels[0][17].tobytes()
    for offset in range(9):
        assert "image" in kinds({"x.bin": b"y" * offset + row[60 : 60 + 180]}, real), offset


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@pytest.mark.parametrize(
    "convert", [lambda t: t, lambda t: (t + 1) / 2, lambda t: (t + 1) * np.float32(127.5)]
)
def test_a_window_of_every_pyramid_level_is_found_in_every_float_form(
    real: RealContent, dtype: str, convert: object
) -> None:
    for number, level in enumerate(real.levels):
        values = convert(level)[:3].astype(dtype)  # type: ignore[operator]
        window = values[1, 5:15].tobytes()
        assert f"pyramid level {number}" in kinds({"x.bin": b"ab" + window}, real), number


def test_float32_pyramid_level_as_initializer_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    clean[GENERATOR] = with_initializer(clean[GENERATOR], real.levels[0])
    assert "pyramid level 0" in kinds(clean, real)


def test_scaled_and_shifted_pyramid_level_as_initializer_is_found(
    clean: dict[str, bytes], real: RealContent
) -> None:
    clean[GENERATOR] = with_initializer(clean[GENERATOR], (0.37 * real.levels[1] - 4).astype(np.float64))
    assert "pyramid level 1" in kinds(clean, real)


def test_image_channels_alone_are_found_in_an_array_file(clean: dict[str, bytes], real: RealContent) -> None:
    buffer = io.BytesIO()
    np.save(buffer, -2 * real.levels[0][:3])
    clean["style/conv1_1.npy"] = buffer.getvalue()
    assert "pyramid level 0" in kinds(clean, real)


def test_mask_level_is_found_as_a_tensor(clean: dict[str, bytes], real: RealContent) -> None:
    clean[GENERATOR] = with_initializer(clean[GENERATOR], real.levels[1][3])
    assert "pyramid level 1" in kinds(clean, real)


def test_pyramid_level_as_json_numbers_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    rounded = np.round(real.levels[0][0], 2).tolist()
    clean["statistics.json"] = json.dumps({"a": [{"b": rounded}]}).encode()
    assert "pyramid level 0" in kinds(clean, real)


def test_reconstruction_noise_as_initializer_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    clean[GENERATOR] = with_initializer(clean[GENERATOR], real.noise[0])
    assert "reconstruction noise 0" in kinds(clean, real)


def test_file_name_in_metadata_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    model = onnx.load_model_from_string(clean[GENERATOR])
    model.metadata_props.add(key="source", value="Patient-Mueller-001.PNG")
    clean[GENERATOR] = model.SerializeToString()
    assert kinds(clean, real) == {"name from the hospital"}


def test_stem_without_its_ending_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    clean["manifest.json"] = b'{"generator": "patient-mueller-001"}'
    assert kinds(clean, real) == {"name from the hospital"}


def test_short_stems_do_not_condemn_ordinary_words(clean: dict[str, bytes]) -> None:
    assert find_real_content(clean, [RealContent("f" * 32, names=("images/1.png", "images/card.png"))]) == []


@pytest.mark.parametrize("name", ["images/müller 7.png", "images/mu\u0308ller 7.png"])
def test_names_in_other_writings_are_found(name: str) -> None:
    real = RealContent("f" * 32, names=(name,))
    for text in ("müller 7.png", "mu\u0308ller 7.png", json.dumps("müller 7.png")):
        assert find_real_content({"CARD.md": text.encode()}, [real]), text


def test_path_in_the_card_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    for path in ("/home/anna/node", "C:\\Users\\anna\\node", "/records/endoscopy", "file:///x"):
        planted = clean | {"CARD.md": clean["CARD.md"] + path.encode()}
        assert kinds(planted, real) <= {"absolute path", "name from the hospital"}, path
        assert kinds(planted, real), path


def test_exif_jpeg_thumbnail_appended_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    image = Image.fromarray(real.pixels[0])
    image.thumbnail((32, 32))
    exif = Image.Exif()
    exif[0x010E] = "colonoscopy"
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", exif=exif)
    clean[GENERATOR] += buffer.getvalue()
    assert {"JPEG file", "EXIF file"} <= kinds(clean, real)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "WebP"])
def test_image_files_are_found(form: str, real: RealContent) -> None:
    buffer = io.BytesIO()
    Image.fromarray(real.pixels[1]).save(buffer, format=form)
    assert f"{form} file" in kinds({"x.bin": b"weights" + buffer.getvalue()}, real)


def test_dicom_header_is_found(real: RealContent) -> None:
    assert "DICOM file" in kinds({"x.bin": bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00"}, real)


def digests(real: RealContent) -> Iterator[str]:
    image, level = real.pixels[0], real.levels[0]
    for data in (image.tobytes(), image.transpose(2, 0, 1).tobytes(), level.tobytes()):
        yield hashlib.sha256(data).hexdigest()
        yield hashlib.md5(data, usedforsecurity=False).hexdigest()
    yield hashlib.sha256(b"the hospital's own file").hexdigest().upper()


def test_unkeyed_hash_in_the_manifest_is_found(clean: dict[str, bytes], real: RealContent) -> None:
    for digest in digests(real):
        clean["manifest.json"] = files.dump_json({"image": digest})
        assert kinds(clean, real) == {"unkeyed digest"}, digest


def test_raw_and_base64_digests_are_found(clean: dict[str, bytes], real: RealContent) -> None:
    digest = hashlib.sha256(real.pixels[0].tobytes()).digest()
    assert kinds({"x.bin": b"abc" + digest}, real) == {"unkeyed digest"}
    assert kinds({"x.json": json.dumps(base64.b64encode(digest).decode()).encode()}, real) == {
        "unkeyed digest"
    }


def test_patient_text_and_tracebacks_are_found(real: RealContent) -> None:
    assert kinds({"CARD.md": b"PatientName: A"}, real) == {"patient text"}
    for text in (
        b"MRN: 0012345",
        b"mrn=AB-99120",
        b"DOB: 1960-01-31",
        b"D.O.B.: 31 Jan 1960",
        b"dob:19600131",
    ):
        assert kinds({"CARD.md": text}, real) == {"patient text"}, text
    assert kinds({"CARD.md": b"Traceback (most recent call last):"}, real) == {"traceback"}


@pytest.mark.parametrize("chance", [b"mrn=", b"uMRn:k", b"dOb:", b"MRN\xff=abcd", b"D.OB\x00:x1", b"MRN:=6P"])
def test_a_few_letters_among_weights_are_no_patient(real: RealContent, chance: bytes) -> None:
    weights = b"\xff\xfe" * 50
    assert kinds({"generator.onnx.part": weights + chance + weights}, real) == set()


def test_pixels_packed_in_zlib_in_base64_in_an_envelope_are_found(real: RealContent) -> None:
    packed = base64.b64encode(zlib.compress(real.pixels[0].tobytes()))
    envelope = json.dumps({"payload": base64.b64encode(b'{"a":"' + packed + b'"}').decode()}).encode()
    assert "image" in kinds({"privacy.json": envelope}, real)


def test_unfold_gives_the_file_itself_first() -> None:
    assert next(iter(unfold(b"plain"))) == b"plain"
    assert list(unfold(b"plain")) == [b"plain"]


def test_random_weights_are_not_taken_for_anything(real: RealContent) -> None:
    noise = np.random.default_rng(0).bytes(8 * 2**20)
    assert find_real_content({"x.bin": noise}, [real]) == []


def test_needles_of_flat_stretches_are_left_out() -> None:
    assert len(needles_of(np.zeros(1000, np.uint8))) == 0
    assert needles_of(np.arange(64, dtype=np.uint8)).shape == (4, NEEDLE_BYTES)


def test_index_finds_a_needle_at_every_offset_and_nothing_else() -> None:
    needle = np.arange(16, dtype=np.uint8)
    index = NeedleIndex([("here", needle[None])])
    for offset in range(20):
        assert list(index.find(bytes(offset) + needle.tobytes() + b"end")) == [("here", offset)]
    assert list(index.find(bytes(100))) == []
    assert list(NeedleIndex([]).find(needle.tobytes())) == []


def test_real_names_are_found_in_real_folders(tmp_path: Path) -> None:
    real = RealContent("f" * 32, places=(str(tmp_path),))
    assert find_real_content({"CARD.md": f"see {tmp_path}/node".encode()}, [real])
