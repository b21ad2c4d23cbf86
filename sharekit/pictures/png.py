"""Reduces a PNG file to the chunks that its pixels need, so that a broken comment does no harm."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sharekit.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
"""Keywords of the text chunks that may hold the orientation."""
_MAX_ORIENTATION_BYTES = 2**16


def essential_chunks(data: bytes, item: object, most: int) -> bytes:
    """Copy the chunks that pixels and orientation need, and verify their checksums.

    Text, times, colour profiles and everything after the end chunk are dropped unread.

    Args:
        data: the whole file.
        item: name of the file in error messages.
        most: largest number of chunks; a decoder's work grows with their number, not with their bytes.

    Raises:
        InputError: naming `item`; it has too many chunks or more than one frame, is cut off, or a needed
            chunk is unknown or has a wrong checksum.
    """
    kept = [SIGNATURE]
    frames, pixels_seen, first_frame_seen = 0, False, False
    for number, (kind, body, chunk, sound) in enumerate(_chunks(data, item), start=1):
        if number > most:
            raise InputError(
                item,
                expected=f"at most {most} chunks",
                found="more",
                next_step="save it again as an ordinary PNG: magick IN OUT.png",
            )
        if kind in _PIXELS or (kind == b"eXIf" and sound):
            if not sound:
                raise broken(item, f"a wrong checksum of its {kind.decode()} chunk")
            kept.append(chunk)
            pixels_seen = pixels_seen or kind == b"IDAT"
        elif kind == b"acTL" and sound:
            frames = int.from_bytes(body[:4])
        elif kind == b"fcTL":
            first_frame_seen = first_frame_seen or not pixels_seen
        elif sound and len(body) <= _MAX_ORIENTATION_BYTES and body.startswith(_ORIENTATION):
            kept.append(chunk)
        elif not kind[0] & 0x20:
            raise InputError(
                item,
                expected="a PNG of the public standard",
                found=f"the chunk {kind.decode('ascii', 'replace')}, which our decoder does not know",
                next_step="save it again as an ordinary PNG: magick IN OUT.png",
            )
    # An animation may have a still picture before its first frame.
    frames += bool(frames) and not first_frame_seen
    if frames > 1:
        raise InputError(
            item,
            expected="one picture in a file",
            found=f"several frames: an animated PNG of {frames} pictures",
            next_step="store every frame that is wanted in a file of its own",
        )
    return b"".join(kept)


def _chunks(data: bytes, item: object) -> Iterator[tuple[bytes, bytes, bytes, bool]]:
    """Kind, body, whole chunk, and whether the checksum is right, up to the end chunk."""
    position = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if len(data) < end or not kind.isalpha():
            raise broken(item, "its end is missing" if len(data) < end else "no PNG chunk where one must be")
        checksum = int.from_bytes(data[end - 4 : end])
        sound = checksum == zlib.crc32(data[position + 4 : end - 4])
        yield kind, data[position + 8 : end - 4], data[position:end], sound
        position = end


def broken(item: object, how: str) -> InputError:
    """The refusal of a damaged file."""
    return InputError(
        item,
        expected="a whole image file",
        found=f"a broken one ({how})",
        next_step="fetch the file again from its source",
    )
