"""NCCL's own words: lines as 2.29 writes them at NCCL_DEBUG=INFO."""

from __future__ import annotations

from pathlib import Path

from benchmarks.h200 import nccl

_SOCKETS = """\
box:11:11 [0] NCCL INFO NCCL_SOCKET_IFNAME set by environment to =lo
box:11:11 [0] NCCL INFO NET/Socket : Using [0]lo:127.0.0.1<0>
box:11:11 [0] NCCL INFO Using network Socket
NCCL version 2.29.7+cuda13.0
box:11:20 [0] NCCL INFO ncclCommInitRankConfig comm 0x55 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 8000 - Init START
box:11:21 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] [send] via NET/Socket/0
box:11:21 [0] NCCL INFO Channel 01/0 : 1[1] -> 0[0] [receive] via NET/Socket/0
"""
_LINK = "box:12:21 [1] NCCL INFO Channel 00/0 : 1[1] -> 0[0] via P2P/CUMEM\n"


def test_interface_network_and_ways_are_read() -> None:
    assert nccl.parse(_SOCKETS + _LINK) == {
        "versions": ["2.29.7+cuda13.0"],
        "networks": ["Socket"],
        "interfaces": ["[0]lo:127.0.0.1<0>"],
        "ranks": {"2": 1},
        "ways": {"NET/Socket/0": 2, "P2P/CUMEM": 1},
    }


def test_files_of_one_lane_are_read_together(tmp_path: Path) -> None:
    variables = nccl.logging_to(tmp_path, "pipeline-cluster")
    Path(variables["NCCL_DEBUG_FILE"].replace("%p", "11")).write_text(_SOCKETS)
    (tmp_path / "pipeline-bare-12.nccl").write_text(_LINK)
    assert nccl.words(tmp_path, "pipeline-cluster")["ways"] == {"NET/Socket/0": 2}
