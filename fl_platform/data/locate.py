"""Search for the folder of a data set; the error lists all searched places."""

from __future__ import annotations

from pathlib import Path

from fl_platform.data.dataset import DataError


def find_folder(root: str | Path, places: list[str], contents: list[str], how: str) -> Path:
    """First of ``places`` below ``root`` that holds all of ``contents``.

    Args:
        root: Data folder; a relative path starts at the working directory.
        places: Folders below ``root``, the preferred one first.
        contents: Required files and folders, relative to the place.
        how: Instructions to get the data, for the message.

    Raises:
        DataError: No place holds all of it; the message lists every place and what it lacks.
    """
    looked = []
    for place in places:
        folder = (Path(root) / place).absolute()
        missing = [name for name in contents if not (folder / name).exists()]
        if not missing:
            return folder
        looked.append(
            f"  {folder} ({'lacks ' + ', '.join(missing) if folder.exists() else 'missing'})"
        )
    raise DataError("Looked for the data in\n" + "\n".join(looked) + f"\n{how}")
