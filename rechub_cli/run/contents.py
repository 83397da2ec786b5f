"""What a run directory may hold: plain files and folders of its own. It may come from anybody."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rechub_cli.errors import DataError


def check_contents(run: Path) -> None:
    """See that no name in a run leads out of it, or to something that is no file.

    Raises:
        DataError: a link to the outside, a pipe or a device.
    """
    home = os.path.realpath(run)
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                if os.path.commonpath([home, target]) != home:
                    raise DataError(f"{path} is a link that leads out of the run; put the file itself there")
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise DataError(f"{path} is no file; a run holds plain files and folders")
