"""DICOM: pixels as a viewer shows them, nothing of the tags, and hostile files that stop nobody else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

from hospital_node.dicom.decoded_file import Header
from hospital_node.dicom.decoding_process import RefusedError, decode
from hospital_node.dicom.read_dicom import outside, read_dicom
from hospital_node.dicom.shown_pixels import shown
from hospital_node.intake import ingest
from hospital_node.intake.intake_report import WarningKind
from hospital_node.intake.intake_rules import IntakeRules
from hospital_node.intake.intake_warnings import about_the_folder
from hospital_node.ledger.states import ImageRecord, ImageState
from hospital_node.node.node import Node
from hospital_node.overlays.text_detector import POSSIBLE, load_detector
from sharekit.errors import InputError

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
SECRETS = ("DOE^JANE", "PID-4711-X", "19540312", "Dr Secret", "ACC-998877", "HIDDEN-PRIVATE")


def dicom(pixels: np.ndarray, **tags) -> bytes:
    """A DICOM file of `(H, W, 3)`, `(H, W)` or `(F, H, W)` values, with identifiers in many tags."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundImageStorage, generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate = SECRETS[0], SECRETS[1], SECRETS[2]
    data.ReferringPhysicianName, data.AccessionNumber, data.Modality = SECRETS[3], SECRETS[4], "US"
    data.add_new((0x0011, 0x0010), "LO", "OURS")
    data.add_new((0x0011, 0x1001), "LT", SECRETS[5])
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    data.Rows, data.Columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        data.NumberOfFrames = len(pixels)
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits, bits - 1, 0
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def picture(text: str = "") -> np.ndarray:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(60, 140, (4, 6, 3), dtype=np.uint8))
    image = small.resize((240, 160), Image.Resampling.BICUBIC)
    ImageDraw.Draw(image).text((20, 10), text, (255, 255, 255), font=ImageFont.load_default(16))
    return np.asarray(image)


def write_pair(data: Path, name: str, file: bytes, mask: np.ndarray | None = None) -> None:
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    (data / "images" / f"{name}.dcm").write_bytes(file)
    if mask is None:
        mask = np.zeros((160, 240), np.uint8)
        mask[90:130, 60:160] = 255
    Image.fromarray(mask).save(data / "masks" / f"{name}.png")


def test_no_identifier_of_a_file_is_found_anywhere_in_the_node(tmp_path):
    """Tags, private tags, an overlay plane and the pixels: none of it stays, in plain or packed form."""
    file = pydicom.dcmread(io.BytesIO(dicom(picture("DOE^JANE PID-4711-X"), BurnedInAnnotation="YES")))
    for element, kind, value in (
        (0x10, "US", 160),
        (0x11, "US", 240),
        (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]),
    ):
        file.add_new((0x6000, element), kind, value)
    file.add_new((0x6000, 0x3000), "OB", b"HIDDEN-PRIVATE".ljust(160 * 240 // 8, b"\0"))
    buffer = io.BytesIO()
    file.save_as(buffer)
    write_pair(tmp_path / "data", "one", buffer.getvalue())
    node = Node.create(tmp_path / "node")
    report = ingest(tmp_path / "data", node)
    assert (report.ingested, report.unknown_patients) == (1, 0)
    (record,) = node.ledger.iterate(ImageState.INGESTED)
    stored = node.load_pair(record.id).image
    found = load_detector().find(stored)
    assert not [one for one in found if one.score >= POSSIBLE and one.top < 30 and one.bottom < 50]
    node.ledger.close()
    needles = [form for secret in SECRETS for form in (secret.encode(), secret.encode("utf-16-le"))]
    for path in (path for path in node.root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        assert [needle for needle in needles if needle in content] == []
        if path.suffix == ".png":
            plain = np.asarray(Image.open(path)).tobytes()
            assert [needle for needle in needles if needle in plain] == []


def test_one_patient_s_files_are_one_unit(tmp_path):
    rng = np.random.default_rng(1)
    for name, patient in (("a", "P1"), ("b", "P1"), ("c", "P2")):
        pixels = rng.integers(0, 255, (40, 50), dtype=np.uint8)
        write_pair(
            tmp_path / "data", name, dicom(pixels, PatientID=patient), np.eye(40, 50, dtype=np.uint8) * 255
        )
    report = ingest(tmp_path / "data", Node.create(tmp_path / "node"))
    assert (report.ingested, report.units) == (3, 2)


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm"]
)
def test_colours_are_those_of_the_picture(name):
    """These files of pydicom show one test card: red, green and blue bands, among others."""
    header, frames, _ = decode((SAMPLES / name).read_bytes())
    assert (header.frames, header.channels) == (1, 3)
    bands = frames[0][[5, 25, 45, 65][:3], 50].astype(int)
    assert bands[0].argmax() == 0
    assert bands[0, 0] - bands[0, 1:].max() > 150


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("examples_ybr_color.dcm", (30, 240, 320, 3)),
        ("examples_palette.dcm", (1, 350, 800, 3)),
        ("examples_jpeg2k.dcm", (1, 480, 640, 3)),
        ("MR_small_jpeg_ls_lossless.dcm", (1, 64, 64, 1)),
        ("MR_small_RLE.dcm", (1, 64, 64, 1)),
        ("SC_rgb_rle_2frame.dcm", (2, 100, 100, 3)),
    ],
)
def test_the_usual_forms_are_decoded(name, shape):
    _, frames, _ = decode((SAMPLES / name).read_bytes())
    assert frames.shape == shape
    assert frames.dtype == np.uint8
    assert np.ptp(frames) > 100


def test_lossless_forms_of_one_picture_are_equal():
    plain, *packed = (
        decode((SAMPLES / f"MR_small{end}.dcm").read_bytes())[1]
        for end in ("", "_RLE", "_jp2klossless", "_jpeg_ls_lossless", "_bigendian", "_implicit")
    )
    for one in packed:
        assert np.array_equal(plain, one)


def values(**tags) -> Dataset:
    data = Dataset()
    data.PhotometricInterpretation, data.BitsStored, data.PixelRepresentation = "MONOCHROME2", 16, 0
    for name, value in tags.items():
        setattr(data, name, value)
    return data


def test_a_window_shows_what_the_standard_says():
    """PS3.3 C.11.2.1.2.1: at or below c - 0.5 - (w-1)/2 black, above c - 0.5 + (w-1)/2 white."""
    data = values(WindowCenter=100, WindowWidth=51)
    found = shown(data, np.array([[[0, 74, 75, 100, 124, 125, 900]]], np.uint16))[0, 0, :, 0]
    assert found.tolist() == [0, 0, 3, 130, 252, 255, 255]


def test_rescale_comes_before_the_window_and_monochrome1_is_inverted():
    data = values(WindowCenter=0, WindowWidth=101, RescaleSlope=2, RescaleIntercept=-1000)
    stored = np.array([[[450, 500, 550]]], np.uint16)
    plain = shown(data, stored)
    data.PhotometricInterpretation = "MONOCHROME1"
    assert plain[0, 0, :, 0].tolist() == [0, 129, 255]
    assert np.array_equal(shown(data, stored), 255 - plain)


def test_plain_eight_bit_greys_stay_as_they_are():
    stored = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert np.array_equal(shown(values(BitsStored=8), stored)[..., 0], stored)


def test_what_lies_outside_the_ultrasound_regions_is_declared():
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 40, 30
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 199, 149
    header, _, _ = decode(dicom(picture(), SequenceOfUltrasoundRegions=Sequence([region])))
    assert header.regions == ((40, 30, 200, 150),)
    strips = outside(header.regions, 160, 240)
    assert sum(strip.area for strip in strips) == 160 * 240 - 160 * 120


def test_a_segmentation_gives_masks_by_segment(tmp_path):
    import highdicom as hd
    from pydicom.sr.codedict import codes

    source = pydicom.dcmread(SAMPLES / "CT_small.dcm")
    mask = np.zeros((1, 128, 128, 2), np.uint8)
    mask[0, 20:60, 20:60, 0], mask[0, 80:100, 80:120, 1] = 1, 1
    described = [
        hd.seg.SegmentDescription(
            number,
            label,
            codes.SCT.Organ,
            codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in ((1, "Polyp"), (2, "Tool tip"))
    ]
    segmentation = hd.seg.Segmentation(
        [source],
        mask,
        hd.seg.SegmentationTypeValues.BINARY,
        described,
        hd.UID(),
        1,
        hd.UID(),
        1,
        "maker",
        "model",
        "1",
        "device",
    )
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/masks").mkdir()
    (tmp_path / "data/images/a.dcm").write_bytes((SAMPLES / "CT_small.dcm").read_bytes())
    segmentation.save_as(tmp_path / "data/masks/a.dcm")
    node = Node.create(tmp_path / "node")
    # The small noisy picture would wait for a review.
    report = ingest(tmp_path / "data", node, rules=IntakeRules(keep_overlays=True))
    assert [refusal.reason for refusal in report.refused] == []
    (record,) = node.ledger.iterate()
    assert record.mask_classes == ("polyp", "tool-tip")
    masks = node.load_pair(record.id).masks
    assert np.array_equal(masks["polyp"] > 0, mask[0, :, :, 0] > 0)
    assert np.array_equal(masks["tool-tip"] > 0, mask[0, :, :, 1] > 0)


def broken() -> dict[str, bytes]:
    whole = dicom(picture())
    huge = pydicom.dcmread(io.BytesIO(whole))
    huge.Rows, huge.Columns = 65535, 65535
    frames = pydicom.dcmread(io.BytesIO(whole))
    frames.NumberOfFrames = 10**6
    files = {"truncated": whole[: len(whole) // 2], "only-a-header": whole[:140]}
    for name, data in (("huge", huge), ("many-frames", frames)):
        buffer = io.BytesIO()
        data.save_as(buffer)
        files[name] = buffer.getvalue()
    at = whole.index(b"\xe0\x7f\x10\x00O")  # (7FE0,0010), its VR, two zeros, the length
    files["wrong-length"] = whole[: at + 8] + b"\x10\0\0\0" + whole[at + 12 :]
    files["noise"] = whole[:132] + np.random.default_rng(0).bytes(5000)
    return files


@pytest.mark.parametrize("name", broken())
def test_a_hostile_file_is_refused_in_words(name):
    with pytest.raises((RefusedError, Exception)) as caught:
        decode(broken()[name])
    assert not isinstance(caught.value, (MemoryError, RecursionError))


def test_hostile_files_stop_nobody_else(tmp_path):
    write_pair(tmp_path / "data", "good", dicom(picture()))
    for name in ("truncated", "huge"):
        write_pair(tmp_path / "data", name, broken()[name])
    report = ingest(tmp_path / "data", Node.create(tmp_path / "node"))
    assert report.ingested == 1
    assert sorted(refusal.path for refusal in report.refused) == ["images/huge.dcm", "images/truncated.dcm"]
    assert all(refusal.expected and refusal.found and refusal.next_step for refusal in report.refused)


def test_several_frames_need_a_mask_for_each(tmp_path):
    write_pair(tmp_path / "data", "film", dicom(np.zeros((3, 160, 240), np.uint8)))
    report = ingest(tmp_path / "data", Node.create(tmp_path / "node"))
    assert "3 frames" in report.refused[0].found


def test_a_corrected_mask_of_a_dicom_file_is_told_with_the_command(tmp_path):
    data, node = tmp_path / "data", Node.create(tmp_path / "node")
    rules = IntakeRules(keep_overlays=True)
    write_pair(data, "a", dicom(picture()))
    ingest(data, node, rules=rules)
    (first,) = node.ledger.records(ImageState.INGESTED)
    corrected = np.zeros((160, 240), np.uint8)
    corrected[30:60, 30:90] = 255
    write_pair(data, "a", dicom(picture()), corrected)
    texts = [warning.message for warning in ingest(data, node, rules=rules).warnings]
    assert any(message.endswith(f"hospital-node erase --node {node.root} {first.id}") for message in texts)
    assert len({record.unit for record in node.ledger.records(ImageState.INGESTED)}) == 1


def test_frames_that_changed_or_went_are_told_apart():
    def frame(number, key):
        return ImageRecord(
            f"{number:032x}", f"images/a.dcm frame {number}", (), ImageState.INGESTED, content_key=key
        )

    records = [frame(1, "same"), frame(2, "old"), frame(3, "went")]
    keys = {"images/a.dcm": "same", "images/a.dcm frame 1": "same", "images/a.dcm frame 2": "new"}
    left, changed = about_the_folder(Path("node"), records, {"images/a.dcm"}, keys, ())
    assert (left.kind, left.files) == (WarningKind.LEFT_FOLDER, ("images/a.dcm frame 3",))
    assert (changed.kind, changed.files) == (WarningKind.OTHER_PICTURE, ("images/a.dcm frame 2",))


def test_a_decoder_that_lies_is_not_believed():
    honest = Header(1, 2, 3, 1, "p", False, (), ("polyp",))
    assert Header.from_json(honest.to_json()) == honest
    for change in ({"frames": 10**9}, {"channels": 7}, {"height": 0}, {"regions": [[1, 2]]}):
        with pytest.raises(ValueError):
            Header.from_json({**honest.to_json(), **change})


def test_the_error_names_the_file():
    with pytest.raises(InputError) as caught:
        read_dicom(b"\0" * 128 + b"DICM" + b"\0" * 50, "images/a.dcm")
    assert caught.value.item == "images/a.dcm"
