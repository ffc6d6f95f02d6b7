"""Fetching a raw file: resumed where it was cut, and in its place only when it is whole."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from recbole_midpg.common.errors import UsageError

from .raw_file import sha256 as sha256_of

_BLOCK = 1 << 20
_ATTEMPTS = 3
_TIMEOUT_S = 60
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


def download(
    url: str,
    target: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    show_progress: bool | None = None,
) -> Path:
    """Fetch a file.

    What has come is kept as ``TARGET.part`` when the connection is cut; the next attempt, of this
    call or a later one, asks for the rest, if the server still has the same file.

    Args:
        url: ``https``; ``http`` from this machine itself alone.
        target: where the file goes; nothing is done where it exists.
        size: the file's size in bytes, if known.
        sha256: the file's checksum as hexadecimal digits, if known.
        show_progress: whether progress is shown on stderr; ``None`` shows it on a terminal.

    Returns:
        The target.

    Raises:
        UsageError: the address is not allowed, the server refuses, the connection is cut again and
            again, or what came is not the file that was expected.
    """
    _check_address(url)
    target = Path(target)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    hidden = None if show_progress is None else not show_progress
    with tqdm(desc=target.name, unit="B", unit_scale=True, disable=hidden) as progress:
        _fetch(url, part, progress)
    _check_content(url, part, size, sha256)
    part.replace(target)
    _validator_file(part).unlink(missing_ok=True)
    return target


def _check_address(url: str) -> None:
    address = urlsplit(url)
    try:
        local = ipaddress.ip_address(address.hostname or "").is_loopback
    except ValueError:
        local = address.hostname == "localhost"
    if address.scheme != "https" and not (address.scheme == "http" and local):
        raise UsageError(f"{url}: is not an https address, expected https://...")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to addresses that would be allowed themselves."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_CheckedRedirects)


def _fetch(url: str, part: Path, progress: tqdm[Any]) -> None:
    """Fetch the whole part, going on where the connection is cut.

    Raises:
        UsageError: the server refuses, or the connection is cut in every attempt.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _fetch_rest(url, part, progress)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            code = getattr(error, "code", None)
            if code not in (None, _RANGE_NOT_SATISFIABLE):
                raise UsageError(f"{url}: the server answered {code}.") from error
            reason = str(getattr(error, "reason", "") or error or type(error).__name__)
    raise UsageError(
        f"{url}: cut {_ATTEMPTS} times ({reason}); what came is kept in {part}, "
        "the same command goes on from there."
    )


def _validator_file(part: Path) -> Path:
    """Where the server's name for this version of the file is kept."""
    return part.with_name(f"{part.name}.version")


def _fetch_rest(url: str, part: Path, progress: tqdm[Any]) -> None:
    """Append what is missing to the part, or begin anew where it belongs to another version.

    Raises:
        http.client.IncompleteRead: the connection was cut.
    """
    version = _validator_file(part)
    have = part.stat().st_size if part.exists() and version.exists() else 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version.read_text(encoding="utf-8"))
    try:
        response = _opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:
            # Nothing follows what is here: it is whole, or of another version.
            version.unlink()
        raise
    with response:
        resumed = response.status == _PARTIAL_CONTENT
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        name = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if name is not None:
            version.write_text(name, encoding="utf-8")
        progress.reset(total)
        progress.update(have)
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                progress.update(len(block))
    if total is not None and have != total:
        raise http.client.IncompleteRead(b"", total - have)


def _check_content(url: str, part: Path, size: int | None, sha256: str | None) -> None:
    """Remove what is not the expected file.

    Raises:
        UsageError: it is not.
    """
    found_size, found_sha256 = part.stat().st_size, sha256_of(part)
    problem = None
    if size is not None and found_size != size:
        problem = f"{found_size:,} bytes came, expected {size:,}"
    elif sha256 is not None and found_sha256 != sha256:
        problem = f"its sha256 is {found_sha256}, expected {sha256}"
    if problem is not None:
        part.unlink()
        _validator_file(part).unlink(missing_ok=True)
        raise UsageError(f"{url}: {problem}; it was removed.")
