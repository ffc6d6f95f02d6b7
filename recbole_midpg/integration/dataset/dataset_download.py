"""RecBole's downloads: by https alone, logged with their SHA-256, and unpacked inside their folder.

Cause: ``Dataset._download`` follows a server wherever it sends it, writes what comes into the
dataset's folder at once, so that a dataset that was cut off counts as there, and ends a run of one
process at a barrier of several. RecBole's list of addresses has no checksums: what came cannot be
checked against anything, and the log says so.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from logging import getLogger
from pathlib import Path
from typing import Any

import torch.distributed
from recbole.utils.url import decide_download, rename_atomic_files

from recbole_midpg.atomic_data_scripts.download import download
from recbole_midpg.atomic_data_scripts.raw_file import check_member, sha256
from recbole_midpg.common.errors import UsageError

MAY_DOWNLOAD = "may_download"
"""The config value that forbids it; set to ``False`` for the config of a file that was read."""


def download_dataset(self: Any) -> None:
    """Stand in for ``Dataset._download``: the dataset's folder is there when all of it is.

    Raises:
        UsageError: the dataset has no address, the download fails, or the archive is not fit to be
            unpacked.
    """
    config, folder = self.config, Path(self.dataset_path)
    if config[MAY_DOWNLOAD] is False:
        raise UsageError(
            f"dataset: {self.dataset_name} is not in {folder}, expected the files that the model "
            "was trained on; nothing is downloaded for a checkpoint."
        )
    if config["local_rank"] == 0:
        url = self._get_download_url("url")
        if not _agreed(url):
            raise UsageError(f"dataset: {self.dataset_name} is not in {folder} and not downloaded.")
        archive = _fetch(url, folder.with_name(f".{folder.name}.zip"))
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            files = Path(temporary) / folder.name
            files.mkdir()
            unpack(archive, files)
            rename_atomic_files(files, Path(url).stem, self.dataset_name)
            files.rename(folder)
        archive.unlink()
    if not config["single_spec"]:
        torch.distributed.barrier()


def _agreed(url: str) -> bool:
    """Ask, as RecBole does of more than a gigabyte; without a keyboard the answer is no.

    Raises:
        UsageError: the address cannot be reached.
    """
    try:
        return decide_download(url)
    except EOFError:
        return False
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise UsageError(f"dataset: {url} cannot be reached ({reason}).") from error


def fetch_into(url: str, folder: str) -> str:
    """Stand in for ``recbole.utils.url.download_url``."""
    return str(_fetch(url, Path(folder) / url.rpartition("/")[2]))


def _fetch(url: str, target: Path) -> Path:
    path = download(url, target)
    getLogger().warning(
        f"{url} was downloaded. RecBole knows no checksum of it, so that nobody has checked what "
        f"came; its sha256 is {sha256(path)}."
    )
    return path


def unpack(archive: Any, folder: Any) -> None:
    """Unpack a zip archive, once all of it is known to be fit for that.

    It stands in for ``recbole.utils.url.extract_zip`` too.

    Args:
        archive: the file.
        folder: an existing folder; no member leaves it.

    Raises:
        UsageError: the archive is damaged, a member is no file inside the folder, or the disk has
            no room for all of it.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
            for info in infos:
                check_member(archive, info)
            _check_room(archive, sum(info.file_size for info in infos), Path(folder))
            opened.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UsageError(f"{archive}: the archive is damaged ({error}).") from error


def _check_room(archive: Any, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"{archive}: it unpacks to {size:,} bytes, expected at most the {free:,} that are free."
        )
