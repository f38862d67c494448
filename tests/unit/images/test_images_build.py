"""What a build looks at before it begins, and where it finds a kernel."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest

from images.builder import _refuse_without_driver
from images.construct import _fill_boot
from images.store import ImageError


def test_without_nvidias_repository_nothing_is_begun() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _refuse_without_driver(f"{address}/")
        with pytest.raises(ImageError, match=f"fetched from {address}/no.deb, which cannot be reached from here"):
            _refuse_without_driver(f"{address}/no.deb")
        server.shutdown()
    with pytest.raises(ImageError, match="Connection refused"):
        _refuse_without_driver(f"{address}/")


def test_a_kernel_beside_its_modules_is_put_where_debian_12_looks(tmp_path: Path) -> None:
    modules, boot = tmp_path / "lib/modules/7.3.4", tmp_path / "boot"
    modules.mkdir(parents=True)
    boot.mkdir()
    (modules / "vmlinuz").write_text("kernel")
    (boot / "config-7.3.4").write_text("of the package itself")
    (modules / "config").write_text("beside the modules")
    _fill_boot(tmp_path, "7.3.4")
    assert (boot / "vmlinuz-7.3.4").read_text() == "kernel"
    assert (boot / "config-7.3.4").read_text() == "of the package itself"
    _fill_boot(tmp_path, "6.1.0")
    assert {path.name for path in boot.iterdir()} == {"vmlinuz-7.3.4", "config-7.3.4"}
