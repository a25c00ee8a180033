"""Model files on a shared machine lie in folders that are ours alone."""

import os
import stat
import threading
import time

import pytest

from sweetspot.errors import CheckError
from tasks import _private_folders
from tasks._private_folders import cache_folder, held_alone, private_folder


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def careless_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_folder_is_ours_alone_and_a_wide_open_one_is_shut(tmp_path):
    assert mode(private_folder(tmp_path / "a" / "b")) == 0o700
    (tmp_path / "open").mkdir(mode=0o777)
    assert mode(private_folder(tmp_path / "open")) == 0o700


def test_a_link_is_refused_even_to_a_folder_of_ours(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(CheckError, match=r"link: is a link, expected a folder of uid \d+.* set SWEETSPOT_CACHE"):
        private_folder(tmp_path / "link")


def test_a_folder_that_somebody_else_made_first_is_refused(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir(mode=0o777)
    monkeypatch.setattr(_private_folders.os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(CheckError, match=r"theirs: is owned by uid \d+, expected a folder of uid \d+"):
        private_folder(tmp_path / "theirs")
    assert mode(tmp_path / "theirs") == 0o777


def test_the_cache_is_in_the_temporary_directory_unless_named(tmp_path, monkeypatch):
    monkeypatch.delenv("SWEETSPOT_CACHE", raising=False)
    monkeypatch.setattr(_private_folders.tempfile, "tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"sweetspot-{os.getuid()}"
    monkeypatch.setenv("SWEETSPOT_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert mode(cache_folder()) == 0o700


def test_a_held_folder_makes_the_next_one_wait(tmp_path):
    done = list[str]()

    def second() -> None:
        with held_alone(tmp_path / "scratch"):
            done.append("second")

    with held_alone(tmp_path / "scratch") as folder:
        assert mode(folder) == 0o700
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        done.append("first")
    thread.join(10)
    assert done == ["first", "second"]
