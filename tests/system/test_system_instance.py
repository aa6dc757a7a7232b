"""A deployment's name and secret: made once, kept, readable by the owner alone."""

import re
from pathlib import Path

import pytest

from camber.errors import ConfigError
from camber.system.instance import FILE_NAME, Instance, load_instance, new_name


def test_an_instance_is_made_once_and_kept(tmp_path: Path) -> None:
    made = load_instance(tmp_path)
    assert re.fullmatch(r"[a-z]+-[a-z]+-[1-9][0-9]{2}", made.name)
    assert len(made.secret) == 32
    assert load_instance(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_each_purpose_has_a_secret_of_its_own() -> None:
    instance = Instance("happy-animal-123", b"s" * 32)
    assert instance.derive(b"a") != instance.derive(b"b")
    assert re.fullmatch(r"happy-animal-123\|[0-9a-f]{64}", instance.admin_key)
    assert instance.admin_key != Instance("happy-animal-123", b"t" * 32).admin_key


def test_names_are_drawn_anew() -> None:
    assert len({new_name() for _ in range(20)}) > 15


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"name": "a-b-100"}',
        '{"name": "a-b-100", "secret": 3}',
        '{"name": "a-b-100", "secret": "xyz"}',
        '{"name": "a-b-100", "secret": ""}',
    ],
)
def test_a_damaged_file_is_not_overwritten(content: str, tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(content)
    with pytest.raises(ConfigError, match="is damaged: it must hold a name and a secret"):
        load_instance(tmp_path)
    assert path.read_text() == content


def test_a_file_that_is_no_text_is_damaged(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is damaged"):
        load_instance(tmp_path)


def test_a_folder_that_is_missing_or_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"deployment\.json cannot be written: No such file"):
        load_instance(tmp_path / "absent")
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(ConfigError, match=r"deployment\.json cannot be read: Is a directory"):
        load_instance(tmp_path)
