"""Files that change are noticed, and files that go away break nothing."""

import asyncio
from pathlib import Path

import pytest

from sekisho.webhook import files
from sekisho.webhook.files import Fingerprint, fingerprint, poll


def test_any_change_changes_the_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    seen = [fingerprint(folder)]
    steps = (
        lambda: (folder / "a").write_text("1"),
        lambda: (folder / "a").write_text("22"),
        lambda: (tmp_path / "b").write_text("33") and (tmp_path / "b").rename(folder / "a"),
        lambda: (folder / "sub").mkdir(),
        lambda: (folder / "sub" / "c").write_text("1"),
        lambda: (folder / "a").unlink(),
    )
    for step in steps:
        step()
        assert fingerprint(folder) == fingerprint(folder)
        assert fingerprint(folder) not in seen
        seen.append(fingerprint(folder))


def test_swapped_link_changes_the_fingerprint(tmp_path: Path) -> None:
    """As the kubelet updates a mounted ConfigMap or Secret."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    link.symlink_to("old")
    before = fingerprint(link)
    link.unlink()
    link.symlink_to("new")
    assert fingerprint(link) != before


async def test_change_is_reported_once_and_a_missing_file_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)
    file = tmp_path / "a"
    file.write_text("1")
    changes: asyncio.Queue[bool] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def on_change() -> None:
        loop.call_soon_threadsafe(changes.put_nowait, file.exists())

    task = asyncio.create_task(poll((file,), fingerprint(file), on_change))
    async with asyncio.timeout(10):
        file.write_text("22")
        assert await changes.get() is True
        file.unlink()
        assert await changes.get() is False
        file.write_text("1")
        assert await changes.get() is True
    assert changes.empty()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_change_is_reported_when_two_polls_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is being rewritten is empty for a moment: to read it then would be to drop its policies."""
    before, emptied, half, whole = ((("a", time, time, 0),) for time in range(4))
    fingerprints = iter([before, emptied, half, whole, whole])
    changes: asyncio.Queue[Fingerprint] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    last = before

    def look(*paths: Path) -> Fingerprint:
        nonlocal last
        last = next(fingerprints, last)
        return last

    def on_change() -> None:
        loop.call_soon_threadsafe(changes.put_nowait, last)

    monkeypatch.setattr(files, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(files, "fingerprint", look)
    task = asyncio.create_task(poll((), before, on_change))
    async with asyncio.timeout(10):
        assert await changes.get() == whole
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert changes.empty()
