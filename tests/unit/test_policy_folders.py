"""Policy folders that are linked, looped or closed: what cannot be looked into is never taken for empty."""

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from reconciler.adapters.policy_files import PolicyFolder, load_policies
from reconciler.adapters.policy_sources import read_sources
from reconciler.adapters.waiver_files import read_waivers
from reconciler.core.errors import PolicyError
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.unit.test_waivers import ENTRY, write
from tests.worlds import POLICIES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give each test a copy of the policies."""
    return Path(shutil.copytree(POLICIES, tmp_path / "policies"))


def closing(place: Path) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Refuse a folder to a function of the system, as the kernel does to everybody but root, whom tests may run as."""

    def close(real: Callable[..., object]) -> Callable[..., object]:
        def ask(path: object, *arguments: object, **more: object) -> object:
            if str(path) == str(place):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *arguments, **more)

        return ask

    return close


def test_a_folder_of_rules_that_is_closed_is_no_folder_less(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules that this account may not see are not rules that find nothing: the policies are refused, by the folder."""
    kept = PolicyFolder(folder, FakeClock())
    assert kept.policies().rules
    monkeypatch.setattr(os, "scandir", closing(folder / "access" / "rules" / "leaver")(os.scandir))
    reads: tuple[Callable[[], object], ...] = (
        partial(load_policies, folder),
        kept.policies,
        partial(read_sources, folder),
    )
    for read in reads:
        with pytest.raises(PolicyError, match=r"rules/leaver: the folder cannot be read: Permission denied") as refused:
            read()
        assert "this account" in refused.value.advice


def test_a_root_that_is_closed_is_an_error_of_the_policies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the folder itself can be asked for, that is said with the reason, and is no defect."""
    monkeypatch.setattr(Path, "stat", closing(folder)(Path.stat))
    for read in (partial(load_policies, folder), PolicyFolder(folder, FakeClock()).policies):
        with pytest.raises(PolicyError, match=r"no such folder \(Permission denied\)"):
            read()


def test_a_folder_that_links_back_to_itself_is_entered_once(folder: Path) -> None:
    """A link upwards adds nothing and does not go on for ever."""
    before = load_policies(folder).digest
    (folder / "access" / "rules" / "again").symlink_to("..")
    assert load_policies(folder).digest == before


def test_policies_mounted_as_a_config_map_follow_the_swap(folder: Path, tmp_path: Path) -> None:
    """The visible names lead over `..data`, older and newer versions lie beside it, and the swap is a new revision."""
    mount = tmp_path / "mount"
    for version in ("..2026_11_22", "..2026_11_23"):
        shutil.copytree(folder, mount / version)
    driver = mount / "..2026_11_23" / "access" / "driver.rego"
    driver.write_text(driver.read_text() + "# more\n")
    (mount / "..data").symlink_to("..2026_11_22")
    for name in ("access", "waivers"):
        (mount / name).symlink_to(f"..data/{name}")
    write(mount, ENTRY)
    kept = PolicyFolder(mount, FakeClock())
    assert kept.policies().digest == load_policies(folder).digest
    assert [one.waiver_id for one in kept.waivers(NOW).whole] == ["W1"]
    (mount / "..data_tmp").symlink_to("..2026_11_23")
    (mount / "..data_tmp").replace(mount / "..data")
    shutil.rmtree(mount / "..2026_11_22")
    assert kept.policies().digest == load_policies(mount / "..2026_11_23").digest != load_policies(folder).digest
    assert kept.waivers(NOW).whole == ()


def test_waivers_that_are_out_of_sight_are_no_waivers_less(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed folder of waivers is an error of the policies, by which nothing is done; one that is gone holds none."""
    write(folder, ENTRY)
    assert len(read_waivers(folder, NOW).whole) == 1
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", closing(folder / "waivers")(os.listdir))
        patched.setattr(os, "scandir", closing(folder / "waivers")(os.scandir))
        with pytest.raises(PolicyError, match=r"waivers: the folder cannot be read: Permission denied"):
            read_waivers(folder, NOW)
    shutil.rmtree(folder / "waivers")
    assert read_waivers(folder, NOW).as_set().refused == ()
