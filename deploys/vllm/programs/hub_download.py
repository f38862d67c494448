"""Bring one file from a hub to disk: resumed, bounded, checked against its digest. Plain HTTP with ranges.

huggingface_hub 2.4 writes each download to a file of its own and removes it when it ends, so that nothing is left to
resume, and its retries begin anew for as long as some byte arrives; so the bytes are read here. Xet is not used.

The token goes to the hub only, not to where it redirects. Part of fetch_model.py; standard library only.
"""

import contextlib
import errno
import hashlib
import http.client
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TRIES_WITHOUT_PROGRESS = 4
LEAST_PROGRESS_BYTES = 1024
TRIES_AT_MOST = 40  # however much each of them brought
RESTARTS_AT_MOST = 3
STALL_SECONDS = float(os.environ.get("CLUSTER_FETCH_STALL_SECONDS", "120"))
FIRST_PAUSE_SECONDS = float(os.environ.get("CLUSTER_FETCH_PAUSE_SECONDS", "2"))
PAUSE_AT_MOST_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 1024  # less than this, over STALL_SECONDS, is a stall as well
BLOCK = 1 << 18
TRANSPORT = "plain HTTP, Xet not used"


class FetchError(RuntimeError):
    """Why there is no model: the thing, what was seen, and what to do. One line."""


@dataclass(frozen=True)
class Remote:
    """A file of a repository as the hub lists it: `sha256` for large files, else git's own `blob` digest."""

    path: str
    size: int
    sha256: str
    blob: str


def clean(text: str) -> str:
    """A text without the token, whatever a library put into its message."""
    token = os.environ.get("HF_TOKEN", "").strip()
    return text.replace(token, "***") if token else text


def say(phase: str, **values: Any) -> None:
    """Progress: one line of JSON on stdout, and alone in the file that fetch_model.py keeps while it runs."""
    line = clean(json.dumps({"phase": phase, **values}))
    print(line, flush=True)
    if path := os.environ.get("CLUSTER_FETCH_PROGRESS"):
        fresh = Path(f"{path}.new")
        with contextlib.suppress(OSError):  # a full disk ends the fetch with its own message
            fresh.write_text(line + "\n")
            fresh.replace(path)


class Download:
    """One file, until it is whole and right, or until it is known why it will not be."""

    def __init__(self, url: str, token: str, work: Path, file: Remote, before: int, total: int) -> None:
        self.url, self.token, self.file = url, token, file
        self.before, self.total = before, total
        self.target = work / file.path
        # Named by its digest, so that it is not gone on with when the revision has moved to other bytes.
        self.part = self.target.with_name(f"{self.target.name}.{(file.sha256 or file.blob)[:12]}.part")
        self.restarts = self.tries = self.highest = 0
        self.seen = ""
        self.said = 0.0

    def run(self) -> None:
        """Try, resume, verify; every loop is bounded."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        wrong = ""
        while True:
            self._read_all()
            say("verify", file=self.file.path, total=self.file.size)
            found = digest(self.part, self.file)
            if found == (self.file.sha256 or self.file.blob):
                self.part.rename(self.target)
                return
            self.part.unlink()
            if wrong:
                again = "the same both times" if wrong == found else f"another than before, {wrong[:16]}…"
                raise FetchError(
                    f"{self.file.path} came twice with a wrong digest: the hub lists "
                    f"{(self.file.sha256 or self.file.blob)[:16]}…, the file has {found[:16]}…, {again}; {TRANSPORT}; "
                    "something between here and the hub changes or caches it: try without the proxy"
                )
            wrong, self.highest = found, 0
            say("retry", file=self.file.path, why="wrong digest, fetched anew")

    def _read_all(self) -> None:
        barren, pause = 0, FIRST_PAUSE_SECONDS
        self.highest = max(self.highest, self._size())
        while self._size() < self.file.size or not self.part.exists():
            self.tries += 1
            wait = 0.0
            try:
                self._read_once()
                self.seen = "the connection ended early"
            except urllib.error.HTTPError as error:
                wait = self._judge(error)
            except (
                TimeoutError,
                http.client.HTTPException,
                ssl.SSLError,
                ConnectionError,
                urllib.error.URLError,
            ) as error:
                self.seen = _reason(error)
            size = self._size()
            if size >= self.file.size:
                break
            moved = size - self.highest >= LEAST_PROGRESS_BYTES
            barren = 0 if moved else barren + 1
            pause = FIRST_PAUSE_SECONDS if moved else min(pause * 2, PAUSE_AT_MOST_SECONDS)
            self.highest = max(self.highest, size)
            if barren >= TRIES_WITHOUT_PROGRESS or self.tries >= TRIES_AT_MOST:
                raise FetchError(
                    f"{self.file.path}: {self.tries} tries, the last {barren} without progress, stopped at "
                    f"{self.highest} of {self.file.size} bytes; last seen: {self.seen}; {TRANSPORT}; what is there is "
                    "kept: mend the network and run it again, and it goes on from there"
                )
            say("retry", file=self.file.path, why=self.seen, tries=self.tries, done=size, total=self.file.size)
            threading.Event().wait(min(max(wait, pause), PAUSE_AT_MOST_SECONDS))

    def _read_once(self) -> None:
        start = self._size()
        with self._open(start) as answer:
            resumed = answer.status == 206
            if start and resumed and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
                raise FetchError(
                    f"{self.file.path}: the hub answers bytes from {start} on with other bytes; {TRANSPORT}"
                )
            if start and not resumed:
                self._restarted(start, answer.status)
                start = 0
            with self.part.open("r+b" if start else "wb") as stream:
                stream.seek(start)
                self._copy(answer, stream, start)

    def _copy(self, answer: Any, stream: Any, done: int) -> None:
        since, base = time.monotonic(), done
        while True:
            block = answer.read1(BLOCK)
            if not block:
                return
            done += len(block)
            if done > self.file.size:
                raise FetchError(
                    f"{self.file.path}: the hub lists {self.file.size} bytes and sends more; try again later"
                )
            try:
                stream.write(block)
            except OSError as error:
                raise _disk_error(self.file.path, self.part.parent, error, self.file.size - done) from None
            now = time.monotonic()
            if now - since > STALL_SECONDS:
                if done - base < SLOWEST_BYTES_PER_SECOND * (now - since):
                    raise TimeoutError(f"only {done - base} bytes in {now - since:.0f} s")
                since, base = now, done
            if now - self.said >= 1 or done == self.file.size:
                self._progress(done, (done - base) / max(now - since, 0.001))
                self.said = now

    def _progress(self, done: int, speed: float) -> None:
        say(
            "download", file=self.file.path, done=done, total=self.file.size, bytes_per_second=int(speed),
            all_done=self.before + done, all_total=self.total,
        )  # fmt: skip

    def _restarted(self, start: int, status: int) -> None:
        self.restarts += 1
        say("restart", file=self.file.path, lost=start, status=status)
        if self.restarts > RESTARTS_AT_MOST:
            raise FetchError(
                f"{self.file.path} starts again and again from its beginning: {self.restarts} times after {self.tries} "
                f"tries, at most {self.highest} of {self.file.size} bytes were there; asked for the bytes from {start} "
                f"on the server answers {status} instead of 206, so nothing can be resumed; it broke off with: "
                f"{self.seen}; "
                f"{TRANSPORT}; go around the proxy or mirror, or fetch the model elsewhere and give its directory"
            )

    def _open(self, start: int) -> Any:
        request = urllib.request.Request(self.url, headers={"User-Agent": "cluster", "Accept-Encoding": "identity"})  # noqa: S310
        if start:
            request.add_header("Range", f"bytes={start}-")
        if self.token:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        return urllib.request.urlopen(request, timeout=STALL_SECONDS)  # noqa: S310 (the hub's own address)

    def _judge(self, error: urllib.error.HTTPError) -> float:
        """Seconds to wait before the next try; FetchError for an answer that another try does not change."""
        with contextlib.closing(error):
            self.seen = f"HTTP {error.code} {error.reason} from {urlsplit(error.url).netloc}"
            if error.code == 416:  # what is there is longer than what the hub has
                lost = self._size()
                self.part.unlink(missing_ok=True)
                self._restarted(lost, error.code)
            elif error.code not in (408, 425, 429) and error.code < 500:
                raise FetchError(f"{self.file.path}: {refused(error.code, dict(error.headers), self.url, self.token)}")
            with contextlib.suppress(ValueError):
                return float(error.headers.get("Retry-After") or 0)
        return 0.0

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def refused(status: int, headers: dict[str, str], url: str, token: str) -> str:
    """What a refusal of the hub means for whoever has to mend it; without the token and without signed addresses."""
    lower = {key.lower(): value for key, value in headers.items()}
    parts = urlsplit(url)
    path = parts.path.split("/resolve/")[0].strip("/").removeprefix("api/models/")
    host, code = parts.netloc, lower.get("x-error-code", "")
    given = "with the token in HF_TOKEN" if token else "without a token"
    if code == "GatedRepo":
        return (
            f"{host} answers {status} for {path} {given}: it is gated; accept its licence on its page with your "
            "account, then put a token of that account into HF_TOKEN"
        )
    if status in (401, 403):
        more = "the token is wrong or may not read it; make a new one" if token else "put a token into HF_TOKEN"
        return f"{host} answers {status} for {path} {given}: there is no such repository, or it is private; {more}"
    if status == 404:
        return f"{host} answers 404 for {path} ({code or 'not found'}): compare repository and revision with its page"
    return f"{host} answers {status} for {path} {given}; {lower.get('x-error-message', 'no reason given')[:200]}"


def digest(path: Path, file: Remote) -> str:
    """The file's digest in the hub's own kind: SHA-256, or git's for small files."""
    made = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            made.update(block)
    return made.hexdigest()


def gib(size: float) -> str:
    """Bytes as people read them."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 // 10 else f"{size / 1024**2:.1f} MiB"


def _disk_error(name: str, directory: Path, error: OSError, missing: int) -> FetchError:
    why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
    return FetchError(
        f"{name} cannot be written to {directory}: {why}, with {gib(missing)} of it to come; make room and run it "
        "again, and it goes on from there"
    )


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no byte for {STALL_SECONDS:.0f} s" if str(inner) in ("timed out", "") else str(inner)
    return f"{type(inner).__name__}: {inner}"[:200]
