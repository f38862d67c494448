"""A call to a cluster's own address: straight to it, whatever proxy the environment names.

The cluster is on a network of its own, and Ray's token and the API's key go with the calls. Standard library only.
"""

import ssl
import urllib.error
import urllib.request
from typing import Any


def opened(call: urllib.request.Request | str, seconds: float, *, judge_certificate: bool = True) -> Any:
    """The open answer, to be closed; raises as urllib's `urlopen` does."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if not judge_certificate:
        context = ssl._create_unverified_context()  # noqa: S323 (asked whether it serves; nothing is sent or believed)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers).open(call, timeout=seconds)


def status(url: str, seconds: float, *, judge_certificate: bool = True) -> int:
    """HTTP status of a GET, of a refusal too; OSError or ValueError where there is no answer."""
    try:
        with opened(url, seconds, judge_certificate=judge_certificate) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
