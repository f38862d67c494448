"""Start HAProxy with this API's words where it has none of its own: gateway_start.py HAPROXY DIRECTORY ARGUMENT...

Standard library only. What is no HTTP at all is answered by HAProxy's connection layer, in fixed pages of HTML that no
configuration reaches before its version 3.2 (haproxy/haproxy#3032). The program's copy in DIRECTORY has them in
OpenAI's shape, in the place and within the length of the old ones; a HAProxy without such pages is started as it is. It
starts itself again, from DIRECTORY, when it is told to reload.
"""

import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

# What stands in its read-only data: a whole answer each, ended by a zero.
PAGE = re.compile(rb"HTTP/1\.[01] ([45]\d\d) [^\r\n\0]+\r\n(?:[^\r\n\0]+\r\n)+\r\n<html>[^\0]*</html>\r?\n?(?=\0)")
SAID = {400: "not HTTP as it should be", 408: "the request came too slowly"}
REASONS = {400: "Bad Request", 408: "Request Timeout"}


def with_own_words(program: bytes) -> tuple[bytes, int]:
    """The program with its built-in pages of errors as JSON, each as long as it was, and how many there were."""
    return PAGE.subn(_own, program)


def _own(found: re.Match[bytes]) -> bytes:
    page = found[0]
    status = int(found[1])
    words = page.split(b"\r\n", 1)[0].split(b" ", 2)[2].decode("latin-1")
    message = SAID.get(status, words)
    kind = "invalid_request_error" if status < 500 else "server_error"
    while True:
        error = {"message": message, "type": kind, "param": None, "code": status}
        body = json.dumps({"error": error}, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status} {REASONS.get(status, words)}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        text = f"{head}Content-Type: application/json\r\n\r\n".encode() + body
        if len(text) <= len(page):
            return text.ljust(len(page), b"\0")
        if not message:
            return page  # not even without a word: then as it was
        message = message[:-1].rstrip()


def copied(program: Path, directory: Path) -> Path:
    """What to start: the copy, made anew where it is not this program's; the program itself where none can be made."""
    copy, libraries = directory / program.name, directory / "lib"
    text, pages = with_own_words(program.read_bytes())
    if not pages:
        print(f"{program} has no built-in pages of errors; it is started as it is", flush=True)
        return program
    theirs = program.parent / "lib"  # where it looks for them is beside itself
    with contextlib.suppress(OSError):
        if copy.read_bytes() == text and libraries.readlink() == theirs:
            return copy
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        libraries.unlink(missing_ok=True)
        libraries.symlink_to(theirs)
        # Under another name first: the one that runs may be the old copy.
        descriptor, name = tempfile.mkstemp(prefix=f".{copy.name}.", dir=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        Path(name).chmod(0o755)
        Path(name).replace(copy)
    except OSError as error:
        print(f"{copy}: {error.strerror}; {program} is started as it is, with HTML for what is no HTTP", flush=True)
        return program
    return copy


def main() -> None:
    """Become HAProxy."""
    program, directory, *arguments = sys.argv[1:]
    start = str(copied(Path(program), Path(directory)))
    try:
        os.execv(start, [start, *arguments])  # noqa: S606 (the point)
    except PermissionError:  # a file system whose files may not be run
        print(f"{start} may not be run; {program} is started as it is, with HTML for what is no HTTP", flush=True)
        os.execv(program, [program, *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
