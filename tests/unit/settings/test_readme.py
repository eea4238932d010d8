"""Every setting is in README.md, as `keyturn settings --markdown` writes it."""

from pathlib import Path

import pytest

from keyturn.server.settings import describe

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize("row", describe(), ids=lambda row: row[0])
def test_setting_is_documented(row: tuple[str, str, str, str]) -> None:
    name, kind, default, text = row
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in README.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{name}` |")
    ]
    assert rows == [[f"`{name}`", kind, f"`{default}`" if default else "", text]]
