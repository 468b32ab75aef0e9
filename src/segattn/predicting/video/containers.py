"""The kinds of video file that are opened, told by their first bytes, and whether one ends before its own header says.

A text file can tell FFmpeg to open other files or addresses (playlists, scripts), whatever its name; none gets there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from segattn.files import require_regular

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob"),
    *(".ts", ".mts", ".m2ts", ".flv", ".ogv", ".wmv", ".asf"),
)
KINDS = "MP4, MOV, MKV, WebM, AVI, MPEG, FLV, Ogg or WMV"

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"}  # with which an MP4 or MOV file can begin
_FIRST = {
    b"\x1aE\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"0&\xb2u": "asf",
    b"\x00\x00\x01\xba": "mpeg",
    b"\x00\x00\x01\xb3": "mpeg",
}


def require_video(path: Path) -> str:
    """The kind of a video file: "mp4", "matroska", "avi", ...

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is empty, or no video file.
        OSError: it can't be read.
    """
    if require_regular(path, "video") == 0:
        raise ValueError(f"{path}: the file is empty")
    with path.open("rb") as file:
        head = file.read(200)
    if head[4:8] in _BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:1] == head[188:189] == b"G" or head[4:5] == head[196:197] == b"G":  # with four bytes of time before each
        return "transport stream"
    if head[:4] in _FIRST:
        return _FIRST[head[:4]]
    raise ValueError(f"{path}: no {KINDS} file by its first bytes, whatever its name says")


def opencv_path(path: Path) -> str:
    """An absolute path as OpenCV takes it.

    Raises:
        ValueError: it is not UTF-8, which ends the process inside OpenCV (5.0.0).
    """
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: a path that is not UTF-8, which OpenCV can't take for videos; rename it") from None
    return name


def missing_bytes(path: Path, kind: str) -> int:
    """How many bytes a file lacks by what its own parts say of their lengths; 0 where they say nothing."""
    walk = {"mp4": _end_of_boxes, "avi": _end_of_chunks, "matroska": _end_of_segment}.get(kind)
    if walk is None:
        return 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return max(walk(file, size) - size, 0)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    place = 0
    while place + 8 <= size:
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:  # 0 is to the end of the file; 1 to 7 nothing can be
            return size
        place += length
    return place


def _end_of_chunks(file: BinaryIO, size: int) -> int:
    place = 0
    while place + 12 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] not in (b"RIFF", b"JUNK", b"idx1") or length == 0:  # 0: nobody came to close the file
            return size
        place += 8 + length + length % 2
    return place


def _end_of_segment(file: BinaryIO, size: int) -> int:
    place = 0
    for _ in range(8):  # the header, what is void, and the segment
        file.seek(place)
        head = file.read(12)
        if len(head) < 5 or head[0] == 0:
            return size
        width = 9 - head[0].bit_length()  # of the element's name
        if len(head) <= width or head[width] == 0:
            return size
        bytes_of_length = 9 - head[width].bit_length()
        mask = (1 << (7 * bytes_of_length)) - 1
        length = int.from_bytes(head[width : width + bytes_of_length], "big") & mask
        if length == mask:  # not known when it was written, as of a live stream
            return size
        place += width + bytes_of_length + length
        if head[:4] == b"\x18S\x80g":
            return place
        if place >= size:
            return place
    return size
