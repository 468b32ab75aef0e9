from __future__ import annotations

from segattn.tables import table_lines

ROWS = [("id", "class", "share"), ("0", "a very\tlong name", "1.5%"), ("12", "road", "98.5%"), ("3", "never", "")]


def test_columns_are_aligned_and_lines_have_no_blanks_at_their_end() -> None:
    assert table_lines(ROWS, left={1}) == [
        "id  class             share",
        " 0  a very\tlong name   1.5%",
        "12  road              98.5%",
        " 3  never",
    ]


def test_cells_without_padding_are_separated_by_tabs_alone() -> None:
    assert table_lines(ROWS, padded=False) == [
        "id\tclass\tshare",
        "0\ta very long name\t1.5%",
        "12\troad\t98.5%",
        "3\tnever\t",
    ]
