"""What is kept of what was typed: for the operator alone, without secrets."""

from __future__ import annotations

from pathlib import Path

from cli.chat.history import PrivateHistory, history

KEY = "a-key-that-nobody-may-see"


def test_a_line_is_there_in_the_next_session(home: Path) -> None:
    first, unkept = history(KEY)
    assert unkept == ""
    for line in ("one", "two\nlines"):
        first.store_string(line)
    assert list(history(KEY)[0].load_history_strings()) == ["two\nlines", "one"]


def test_the_file_is_for_its_owner_alone_even_if_it_was_not(home: Path) -> None:
    history()
    path = home / "chat-history"
    path.chmod(0o644)
    history()
    assert path.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o077 == 0


def test_what_is_not_kept(home: Path) -> None:
    kept, _ = history(KEY)
    for line in (f"my key is {KEY}", " private", "public"):
        kept.store_string(line)
    assert list(history()[0].load_history_strings()) == ["public"]
    assert KEY not in (home / "chat-history").read_text()


def test_a_file_that_goes_away_is_no_error(tmp_path: Path) -> None:
    kept = PrivateHistory(tmp_path / "state" / "history")
    (tmp_path / "state" / "history").unlink()
    (tmp_path / "state").rmdir()
    kept.store_string("lost")
    assert list(kept.load_history_strings()) == []
