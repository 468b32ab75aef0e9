"""Many images by name: folders, patterns and addresses, lists of these, and Parquet files, read as they are come to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from segattn.contracts import cut
from segattn.files import require_regular, same_file
from segattn.predicting.addresses import file_system, find_addresses, is_address, join, local_path, naming_address
from segattn.predicting.image_files import LONGEST_NAME, find_images

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LISTS = (".txt", ".parquet")
INSTALL = "pip install 'segattn[scale]'"
_PATHS, _IMAGES = ("path", "file", "filename"), ("image", "bytes")


class Item(NamedTuple):
    """An image to label.

    Attributes:
        name: of the result files, below the output folder; it has the folders of a path that a list or table names.
        source: the file, the address of one, the bytes of one, or why there is none.
        where: what errors call it.
    """

    name: str
    source: Path | str | bytes | ValueError
    where: str

    def without(self, why: str) -> Item:
        """The same, and why it can't be labelled."""
        return self._replace(source=ValueError(f"{cut(self.where)}: {why}"))


class Collection(NamedTuple):
    """Images in order.

    Attributes:
        files: those that were named themselves, by a folder or by a pattern.
        addresses: those that an address named: itself, a folder or a pattern.
        listed: .txt and .parquet files, and addresses of such, whose images are read one after another and never all in
            memory.
        total: how many there are.
    """

    files: list[Path]
    addresses: list[str]
    listed: list[Path | str]
    total: int

    def items(self) -> Iterator[Item]:
        """Each image; those that can't be labelled, as their results would have an earlier one's name, say so."""
        for path in self.files:
            yield Item(path.stem, path, str(path))
        # of hashes, as names of a million images would fill memory
        taken = {hash(same_file(path.stem)) for path in self.files}
        addressed = (Item(result_name(address), address, address) for address in self.addresses)
        for items in chain([addressed], map(_listed, self.listed)):
            for item in items:
                key = hash(same_file(item.name))
                if key in taken:
                    item = item.without("an earlier image in this call has results of the same name")
                elif "\0" in item.name:
                    item = item.without("no such file; a path holds no null byte")
                elif any(len(os.fsencode(part)) > LONGEST_NAME for part in item.name.split("/")):
                    item = item.without("too long a name to put _confidence.png after it; shorten it")
                taken.add(key)
                yield item


def collect(sources: Iterable[str]) -> Collection:
    """What files, folders, patterns, addresses, lists (.txt, a path or address a line) and tables (.parquet) name.

    Paths in a list or table are taken from its folder where they are relative. A table has a column of paths ("path",
    "file" or "filename") or of images ("image" or "bytes": the bytes of a file, or Hugging Face's pair of bytes and
    path), or both, where paths then name the results.

    Raises:
        FileNotFoundError, ValueError: a source names nothing, as `find_images`; an empty list; a table without these
            columns; or pyarrow, which reads tables, is not installed.
        OSError: an address can't be read.
    """
    sources = [local_path(source) for source in sources]
    named = [source for source in sources if source.lower().endswith(LISTS) and not os.path.isdir(source)]
    plain = [source for source in sources if source not in named and not is_address(source)]
    others = [source for source in sources if source not in named and is_address(source)]
    files = find_images(plain) if plain or not (named or others) else []
    addresses = list(dict.fromkeys(chain.from_iterable(map(find_addresses, others))))
    listed = [source if is_address(source) else Path(source) for source in named]
    return Collection(files, addresses, listed, len(files) + len(addresses) + sum(map(_count, listed)))


def _count(file: Path | str) -> int:
    if isinstance(file, Path):
        require_regular(file)
    count = _opened(file).metadata.num_rows if _is_table(file) else sum(1 for _ in _lines(file))
    if count == 0:
        raise ValueError(f"{file}: names no images; expected a path a line, or a row an image")
    return count


def _is_table(file: Path | str) -> bool:
    return str(file).lower().endswith(".parquet")


def _listed(file: Path | str) -> Iterator[Item]:
    return _rows(file) if _is_table(file) else (_item(file, line) for line in _lines(file))


def _lines(file: Path | str) -> Iterator[str]:
    with _bytes_of(file) as lines:
        for line in lines:
            text = os.fsdecode(line).removeprefix("\ufeff").strip()
            if "\0" in text:
                raise ValueError(f"{file}: holds null bytes; a list is text in UTF-8 (not UTF-16), a path a line")
            if text and not text.startswith("#"):
                yield text


@contextmanager
def _bytes_of(file: Path | str) -> Iterator[IO[bytes]]:
    if isinstance(file, Path):
        with open(file, "rb") as opened:
            yield opened
        return
    fs, path = file_system(file)
    with naming_address(file, "read"), fs.open(path, "rb") as opened:
        yield opened


def _item(file: Path | str, text: str) -> Item:
    path = local_path(text)
    if is_address(path):
        return Item(result_name(path), path, path)
    if isinstance(file, Path):
        return Item(result_name(path), file.parent / path, path)
    return Item(result_name(path), join(file.rpartition("/")[0], path), path)


def result_name(text: str) -> str:
    """The name of the results of a path or URL: its folders and name, without what leads out of a folder."""
    path = PurePath(text.partition("://")[2] or text)
    bare = path.with_suffix("") if path.name else path
    parts = [part for part in bare.parts if part not in (path.anchor, "..", ".")]
    return "/".join(parts) or "image"


def _rows(file: Path | str) -> Iterator[Item]:
    table = _opened(file)
    paths, images = (_column(table, names) for names in (_PATHS, _IMAGES))
    number = 0
    batches = table.iter_batches(batch_size=64, columns=[name for name in (paths, images) if name is not None])
    while True:
        try:
            rows = next(batches).to_pylist()
        except StopIteration:
            return
        except (ValueError, OSError) as error:
            raise ValueError(f"{file}: damaged from row {number} on ({cut(str(error))}); copy it again") from None
        for row in rows:
            yield _row_item(file, number, row.get(paths), row.get(images) if images else None)
            number += 1


def _row_item(file: Path | str, number: int, path: Any, image: Any) -> Item:
    if isinstance(image, dict):
        path, image = path or image.get("path"), image.get("bytes")
    if path is None and isinstance(image, str):
        path, image = image, None
    if isinstance(path, str) and image is None:
        return _item(file, path)
    where = path if isinstance(path, str) else f"{file}: row {number}"
    item = Item(result_name(path) if isinstance(path, str) else f"image{number:08d}", image, where)
    return item if isinstance(image, bytes) else item.without("neither a path nor the bytes of an image")


def require_pyarrow(what: str) -> None:
    """That Parquet can be read and written. Raises ValueError, which names what needs it."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ValueError(f"{what}: needs pyarrow, which is not installed ({error}): {INSTALL}") from None


def _opened(file: Path | str) -> pq.ParquetFile:
    require_pyarrow(str(file))
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if isinstance(file, Path):
            table = pq.ParquetFile(file)
        else:
            fs, path = file_system(file)
            with naming_address(file, "read"):
                table = pq.ParquetFile(fs.open(path, "rb"))
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file}: no Parquet file, or a damaged one ({cut(str(error))})") from None
    if _column(table, _PATHS) is None and _column(table, _IMAGES) is None:
        raise ValueError(
            f"{file}: has the columns {cut(', '.join(table.schema_arrow.names))}; expected one of paths "
            f"({', '.join(_PATHS)}) or of images ({', '.join(_IMAGES)})"
        )
    return table


def _column(table: pq.ParquetFile, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table.schema_arrow.names), None)
