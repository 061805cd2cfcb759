"""Finding a data set's folder, and saying where it was looked for when it is not there."""

from __future__ import annotations

from pathlib import Path

from fl_platform.data.dataset import DataError


def find_folder(root: str | Path, places: list[str], contents: list[str], how: str) -> Path:
    """The first of ``places`` below ``root`` that holds all of ``contents``.

    Args:
        root: the data folder; a relative one counts from the working directory.
        places: folders below ``root``, the preferred one first.
        contents: what the folder must hold, relative to it.
        how: how to get the data, for the message.

    Raises:
        DataError: none of the places holds all of it; names every place and what it lacks.
    """
    looked = []
    for place in places:
        folder = (Path(root) / place).absolute()
        missing = [name for name in contents if not (folder / name).exists()]
        if not missing:
            return folder
        looked.append(
            f"  {folder} ({'lacks ' + ', '.join(missing) if folder.exists() else 'absent'})"
        )
    raise DataError("Looked for the data in\n" + "\n".join(looked) + f"\n{how}")
