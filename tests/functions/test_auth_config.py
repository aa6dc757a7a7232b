"""`auth_config.py`: what may stand in it, and what is said when something else does."""

import base64
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from camber import AuthConfig, CustomJwtProvider, OidcProvider
from camber.errors import ConfigError, LoadError
from camber.functions.auth_config import NO_AUTH
from camber.functions.loader import load_app
from camber.functions.variables import reading_from

KEYS = 'data:application/json,{"keys":[]}'
OIDC = {"domain": "https://id.example.com", "applicationID": "my-app"}
CUSTOM = {
    "type": "customJwt",
    "issuer": "https://tok.example.com",
    "jwks": "https://tok.example.com/jwks.json",
    "algorithm": "ES256",
}


def loaded(folder: Path, source: str) -> AuthConfig:
    functions = folder / "convex"
    functions.mkdir()
    (functions / "auth_config.py").write_text(dedent(source))
    app = load_app(functions)
    app.unload()
    return app.auth_config


def refused(folder: Path, source: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        loaded(folder, source)
    return caught.value


def test_providers_are_written_as_classes(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        f"""
        from camber import AuthConfig, CustomJwtProvider, OidcProvider

        auth_config = AuthConfig(providers=[
            OidcProvider(domain="id.example.com", application_id="my-app"),
            CustomJwtProvider(issuer="me", jwks='{KEYS}', algorithm="RS256"),
        ])
        """,
    )
    oidc, custom = config.checked
    assert (oidc.issuer, oidc.application_id) == ("https://id.example.com", "my-app")
    assert custom == CustomJwtProvider("me", KEYS, "RS256", None)


@pytest.mark.parametrize("name", ["auth_config", "default"])
def test_providers_are_written_as_dicts(name: str, tmp_path: Path) -> None:
    config = loaded(tmp_path, f"{name} = {{'providers': [{OIDC}, {CUSTOM}]}}")
    assert config == AuthConfig(
        [
            OidcProvider("https://id.example.com", "my-app"),
            CustomJwtProvider(
                "https://tok.example.com", "https://tok.example.com/jwks.json", "ES256"
            ),
        ]
    )


def test_both_ways_may_be_mixed() -> None:
    oidc = OidcProvider("https://id.example.com", "my-app")
    assert AuthConfig([oidc, OIDC]).checked == (oidc, oidc)


def test_dicts_may_have_the_names_of_the_classes() -> None:
    fields = {"domain": "https://id.example.com", "application_id": "my-app"}
    assert AuthConfig([fields]) == AuthConfig([OIDC])


def test_an_app_without_the_file_believes_nobody(tmp_path: Path) -> None:
    (tmp_path / "convex").mkdir()
    app = load_app(tmp_path / "convex")
    app.unload()
    assert app.auth_config is NO_AUTH
    assert NO_AUTH.checked == ()


def test_the_deployments_variables_may_be_used(tmp_path: Path) -> None:
    source = """
        from camber import env
        auth_config = {"providers": [{"domain": env["DOMAIN"], "applicationID": "x"}]}
    """
    with reading_from({"DOMAIN": "id.example.com"}):
        (provider,) = loaded(tmp_path, source).checked
    assert provider.issuer == "https://id.example.com"


def test_a_variable_that_is_not_set_is_named_with_the_line(tmp_path: Path) -> None:
    error = refused(tmp_path, 'from camber import env\n\nauth_config = env["DOMAIN"]')
    assert str(error).startswith("convex/auth_config.py:3: ")
    assert "camber env set DOMAIN" in str(error)


def test_a_mistake_in_a_class_is_told_with_its_line(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        """
        from camber import AuthConfig, CustomJwtProvider
        auth_config = AuthConfig([
            CustomJwtProvider("me", "https://me/keys", "HS256"),
        ])
        """,
    )
    assert (error.file, error.line) == ("convex/auth_config.py", 4)
    assert '`algorithm` must be "RS256" or "ES256", got \'HS256\'.' in str(error)


MISTAKES: list[tuple[str, str]] = [
    (
        "x = 1",
        "must define `auth_config`, an AuthConfig: `auth_config = AuthConfig(providers=[…])`",
    ),
    ("auth_config = None", "must be an AuthConfig(providers=[…]), or a dict"),
    ("auth_config = []", "must be an AuthConfig(providers=[…]), or a dict"),
    ("auth_config = {}", "must be an AuthConfig(providers=[…]), or a dict"),
    ("auth_config = {'providers': [], 'x': 1}", "has no field `x`: only `providers`."),
    ("auth_config = {'providers': {}}", "`providers` must be a list, got {}."),
    ("auth_config = {'providers': 'x'}", "`providers` must be a list, got 'x'."),
    ("auth_config = {'providers': [3]}", "`providers[0]` must be an OidcProvider, a Cust"),
]


@pytest.mark.parametrize(("source", "told"), MISTAKES)
def test_what_is_no_configuration_is_told_with_the_file(
    source: str, told: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, source)
    assert error.file == "convex/auth_config.py"
    assert "`convex/auth_config.py`" in str(error)
    assert told in str(error)


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"domain": "x.example"}, "`applicationID` is missing."),
    ({"applicationID": "x"}, "`domain` is missing."),
    ({**OIDC, "application_id": "x"}, "there is no field `application_id`; the fields are domain,"),
    ({**OIDC, "applicationId": "x"}, "there is no field `applicationId`; the fields are domain,"),
    ({**OIDC, "applicationID": None}, "`applicationID` must be what the tokens name in `aud`, go"),
    ({**OIDC, "applicationID": ""}, "`applicationID` must be what the tokens name in `aud`, got"),
    ({**OIDC, "domain": 3}, "`domain` must be the issuer's URL, such as https://id.example.com, "),
    ({**OIDC, "domain": "ftp://x.example"}, "`domain` must be an http or https URL, got 'ftp://x"),
    ({**OIDC, "domain": "https://"}, "`domain` must be an http or https URL"),
    ({**OIDC, "domain": "https://x y"}, "`domain` must be an http or https URL"),
    ({**OIDC, "domain": "https://x.example:port"}, "`domain` must be an http or https URL"),
    ({**OIDC, "domain": "https://x.example/a|b"}, "`domain` must be an http or https URL"),
    ({**OIDC, "type": "oidc"}, '`type` must be "customJwt", or left out for OpenID Connect, got'),
    ({**CUSTOM, "domain": "x"}, "there is no field `domain`; the fields are type, issuer, jwks,"),
    ({**CUSTOM, "issuer": "a|b"}, "`issuer` must not contain `|`."),
    ({**CUSTOM, "issuer": " "}, "`issuer` must be what the tokens name in `iss`, got ' '."),
    ({**CUSTOM, "algorithm": "HS256"}, '`algorithm` must be "RS256" or "ES256", got \'HS256\'.'),
    ({**CUSTOM, "algorithm": "none"}, '`algorithm` must be "RS256" or "ES256", got \'none\'.'),
    ({**CUSTOM, "algorithm": ["RS256"]}, '`algorithm` must be "RS256" or "ES256"'),
    ({**CUSTOM, "jwks": "/jwks.json"}, "`jwks` must be an http or https URL, got '/jwks.json'."),
    ({**CUSTOM, "jwks": "data:"}, "`jwks` is a `data:` URL without a comma"),
    ({**CUSTOM, "jwks": "data:;base64,*"}, "`jwks` is a `data:` URL that is not valid base64."),
    ({**CUSTOM, "jwks": "data:,x"}, "`jwks` is a `data:` URL whose content is no JSON"),
    ({**CUSTOM, "jwks": "data:,{}"}, "`jwks` is a `data:` URL whose content is no key set"),
    ({**CUSTOM, "applicationID": 1}, "`applicationID` must be what the tokens name in `aud`"),
]


@pytest.mark.parametrize(("fields", "told"), FIELDS)
def test_a_field_that_is_wrong_is_named_with_its_provider(
    fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, f"auth_config = {{'providers': [{OIDC}, {fields}]}}")
    start = "`auth_config` of `convex/auth_config.py`: `providers[1]`: "
    assert str(error).startswith(start + told)


@pytest.mark.parametrize("way", ["plain", "escaped", "base64"])
def test_keys_may_stand_in_the_url_in_any_of_its_forms(way: str) -> None:
    document = b'{"keys":[{"kid":"a b"}]}'
    url = {
        "plain": "data:," + document.decode(),
        "escaped": "data:application/json,%7B%22keys%22:[%7B%22kid%22:%22a%20b%22%7D]%7D",
        "base64": "DATA:text/plain;charset=utf-8;base64," + base64.b64encode(document).decode(),
    }[way]
    assert CustomJwtProvider("me", url, "RS256").inline_keys() == document


def test_a_long_url_is_not_repeated_whole() -> None:
    with pytest.raises(ConfigError) as caught:
        CustomJwtProvider("me", "ftp://" + "x" * 5000, "RS256")
    assert len(str(caught.value)) < 200
