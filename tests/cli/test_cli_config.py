"""camber.toml: what it may say, and how a mistake in it is told."""

from pathlib import Path

import pytest

from camber.cli.config import load_config
from camber.errors import ConfigError


def app(folder: Path, text: str | None = None, functions: str = "convex") -> Path:
    (folder / functions).mkdir(parents=True)
    if text is not None:
        (folder / "camber.toml").write_text(text)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(folder)
    return str(caught.value)


def test_without_camber_toml_the_functions_are_in_convex(tmp_path: Path) -> None:
    config = load_config(app(tmp_path))
    assert config.functions == tmp_path / "convex"
    assert config.state == tmp_path / ".camber"
    assert config.variables == ()


def test_camber_toml_names_the_functions_folder_and_initial_variables(tmp_path: Path) -> None:
    text = 'functions = "src/backend"\n[env]\nA = "1"\nB = ""\n'
    config = load_config(app(tmp_path, text, "src/backend"))
    assert config.functions == tmp_path / "src/backend"
    assert config.variables == (("A", "1"), ("B", ""))


def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    text = refusal(app(tmp_path, '# mine\nfunctions = "convex\n'))
    assert "camber.toml:2: " in text
    assert 'functions = "convex' in text


def test_what_ends_too_early_is_told_with_the_last_line(tmp_path: Path) -> None:
    assert "camber.toml:2: " in refusal(app(tmp_path, "[env]\nA ="))


def test_an_unknown_key_is_told_with_its_line_and_what_was_meant(tmp_path: Path) -> None:
    text = refusal(app(tmp_path, '\n\nfuctions = "convex"\n'))
    assert "camber.toml:3: `fuctions` is not known. Did you mean `functions`?" in text


def test_an_unknown_key_like_no_other_is_told_the_known_ones(tmp_path: Path) -> None:
    text = refusal(app(tmp_path, "[database]\nurl = 1\n"))
    assert "camber.toml:1: `database` is not known. Known are `functions` and `[env]`." in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("functions = 3", "camber.toml:1: `functions` must be a folder's name, got 3"),
        ('functions = ""', 'camber.toml:1: `functions` must be a folder\'s name, got ""'),
        ('env = "x"', 'camber.toml:1: `env` must be a table, [env], got "x"'),
        (
            "[env]\nPORT = 80",
            'camber.toml:2: `env.PORT` must be a string, got 80. Write PORT = "80"',
        ),
        ("[env]\nA = [1]", "camber.toml:2: `env.A` must be a string, got an array"),
        ("[env.A]\nb = 1", "`env.A` must be a string, got a table"),
        ('[env]\n1A = "x"', "camber.toml:2: The environment variable name 1A is invalid"),
        ('[env]\nCONVEX_SITE_URL = "x"', "camber.toml:2: Environment variable with name"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_with_its_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert expected in refusal(app(tmp_path, text))


def test_a_camber_toml_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    app(tmp_path)
    (tmp_path / "camber.toml").write_bytes(b'functions = "\xff"')
    assert "cannot be read: it is not UTF-8 text" in refusal(tmp_path)


def test_a_camber_toml_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    app(tmp_path)
    (tmp_path / "camber.toml").mkdir()
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_a_file_is_no_folder_of_an_app(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file, not a folder" in refusal(tmp_path / "file")


def test_a_folder_without_functions_is_told_where_to_put_them(tmp_path: Path) -> None:
    text = refusal(tmp_path)
    assert f"There is no functions folder {tmp_path}/convex." in text
    assert "camber.toml" in text


def test_who_names_the_functions_folder_is_told_to_name_the_app(tmp_path: Path) -> None:
    app(tmp_path)
    (tmp_path / "convex" / "messages.py").touch()
    assert f"`camber dev {tmp_path}`" in refusal(tmp_path / "convex")
