"""Signed-in users at every door, as whom functions of every kind see them."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from camber.clock import ManualClock
from camber.errors import LoadError, RequestError
from camber.functions.identity import ADMIN, NOBODY
from camber.server.access import Access
from serving import Answer, Backend, ask, served
from signing import ISSUER, Signer, claims, custom, verifier

SIGNER, OTHER = Signer("ES256"), Signer("ES256", number=1)
OWN = Signer("RS256")

APP = {
    "auth_config.py": """
        from camber import AuthConfig, CustomJwtProvider, OidcProvider, env

        auth_config = AuthConfig(providers=[
            CustomJwtProvider(
                issuer="https://id.example.com",
                jwks=env["KEYS"],
                algorithm="ES256",
                application_id="my-app",
            ),
            # The app is a provider itself, see `http.py`.
            OidcProvider(domain=env["CONVEX_SITE_URL"], application_id="my-app"),
        ])
    """,
    "schema.py": """
        from camber import Schema, Table

        class visits(Table):
            user: str

        schema = Schema(visits)
    """,
    "m.py": """
        from camber import action, internal_query, mutation, query

        @query
        async def who(ctx):
            return await ctx.auth.get_user_identity()

        @internal_query
        async def subject(ctx):
            identity = await ctx.auth.get_user_identity()
            return identity and identity["subject"]

        @query
        async def nested(ctx):
            return [await ctx.run_query("m:subject"), await ctx.run_query("m:subject")]

        @query
        async def spoiled(ctx):
            identity = await ctx.auth.get_user_identity()
            seen = list(identity["roles"])
            identity["roles"].append("admin")
            identity["subject"] = "admin"
            return [seen, await ctx.run_query("m:subject")]

        @mutation
        async def visit(ctx):
            identity = await ctx.auth.get_user_identity()
            user = identity["tokenIdentifier"] if identity else "nobody"
            await ctx.db.insert("visits", {"user": user})
            return [user, await ctx.run_query("m:subject")]

        @query
        async def visits(ctx):
            return [visit.user for visit in await ctx.db.query("visits").collect()]

        @action
        async def act(ctx):
            return [
                await ctx.auth.get_user_identity(),
                await ctx.run_query("m:subject"),
                await ctx.run_mutation("m:visit"),
                await ctx.run_action("m:act_plainly"),
            ]

        @action
        def act_plainly(ctx):
            identity = ctx.auth.get_user_identity()
            return [identity and identity["subject"], ctx.run_query("m:subject")]
    """,
    "http.py": """
        import json
        from camber import Response, env, http_endpoint, http_router

        http = http_router()

        @http_endpoint
        async def who(ctx, request):
            identity = await ctx.auth.get_user_identity()
            return Response.json([
                identity,
                await ctx.run_query("m:subject"),
                await ctx.run_mutation("m:visit"),
                await ctx.run_action("m:act_plainly"),
            ])

        @http_endpoint
        async def careless(ctx, request):
            return Response.json(await ctx.run_query("m:subject"))

        @http_endpoint
        async def configuration(ctx, request):
            site = env["CONVEX_SITE_URL"]
            return Response.json({"issuer": site, "jwks_uri": f"{site}/.well-known/jwks.json"})

        @http_endpoint
        async def keys(ctx, request):
            return Response.json(json.loads(env["OWN_KEYS"]))

        http.route(path="/who", method="GET", handler=who)
        http.route(path="/careless", method="GET", handler=careless)
        http.route(path="/.well-known/openid-configuration", method="GET", handler=configuration)
        http.route(path="/.well-known/jwks.json", method="GET", handler=keys)
    """,
}
VARIABLES = {"KEYS": SIGNER.data_url(), "OWN_KEYS": OWN.key_set().decode()}
ADA = {
    "tokenIdentifier": f"{ISSUER}|ada",
    "issuer": ISSUER,
    "subject": "ada",
    "email": "ada@example.com",
    "org.role": "author",
    "roles": ["reader"],
}
KINDS = {"query": "m:who", "mutation": "m:visit", "action": "m:act"}


def now(**changes: Any) -> dict[str, Any]:
    """Claims by the system's clock."""
    return claims(exp=int(time.time()) + 3600, iat=int(time.time()), **changes)


def token_of_ada() -> str:
    extra = {"email": "ada@example.com", "org": {"role": "author"}, "roles": ["reader"]}
    return SIGNER.token(now(sub="ada", **extra))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("auth"), APP, variables=VARIABLES) as backend:
        yield backend


def post(backend: Backend, kind: str, path: str, token: str | None) -> Answer:
    headers = {"content-type": "application/json", **({} if token is None else bearer(token))}
    body = json.dumps({"path": path, "args": {}, "format": "json"}).encode()
    return ask(backend.api, "POST", f"/api/{kind}", body, headers)


def value(backend: Backend, kind: str, path: str, token: str | None = None) -> Any:
    answer = post(backend, kind, path, token)
    assert answer.status == 200, answer
    return json.loads(answer.body)["value"]


def test_functions_of_every_kind_see_who_calls(backend: Backend) -> None:
    token = token_of_ada()
    assert value(backend, "query", "m:who", token) == ADA
    assert value(backend, "query", "m:nested", token) == ["ada", "ada"]
    visit = [ADA["tokenIdentifier"], "ada"]
    assert value(backend, "mutation", "m:visit", token) == visit
    assert value(backend, "action", "m:act", token) == [ADA, "ada", visit, ["ada", "ada"]]
    answer = ask(backend.site, "GET", "/who", headers=bearer(token))
    assert json.loads(answer.body) == [ADA, "ada", visit, ["ada", "ada"]]


def test_without_a_token_functions_of_every_kind_see_nobody(backend: Backend) -> None:
    assert value(backend, "query", "m:who") is None
    assert value(backend, "query", "m:nested") == [None, None]
    assert value(backend, "action", "m:act") == [None, None, ["nobody", None], [None, None]]
    answer = ask(backend.site, "GET", "/who")
    assert json.loads(answer.body) == [None, None, ["nobody", None], [None, None]]


def test_what_a_function_does_to_its_copy_of_an_identity_is_its_own_affair(
    backend: Backend,
) -> None:
    token = token_of_ada()
    for _ in range(2):
        assert value(backend, "query", "m:spoiled", token) == [["reader"], "ada"]
    assert value(backend, "query", "m:who", token) == ADA


BAD: dict[str, tuple[str, str]] = {
    "no token": ("abc", "InvalidAuthHeader"),
    "unsigned": (
        SIGNER.token(now(), SIGNER.header(alg="none")).rpartition(".")[0] + ".",
        "InvalidAuthHeader",
    ),
    "of a stranger": (OTHER.token(now()), "InvalidAuthHeader"),
    "of yesterday": (SIGNER.token(now() | {"exp": 1}), "Unauthenticated"),
    "for another": (SIGNER.token(now(aud="other")), "NoAuthProvider"),
    "of another": (SIGNER.token(now(iss="https://evil.example")), "NoAuthProvider"),
}


@pytest.mark.parametrize(("token", "code"), BAD.values(), ids=BAD)
def test_a_token_that_is_not_accepted_keeps_every_function_from_running(
    token: str, code: str, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    before = value(backend, "query", "m:visits")
    for kind, path in KINDS.items():
        answer = post(backend, kind, path, token)
        told = json.loads(answer.body)
        assert (answer.status, told["code"]) == (401, code)
        assert token not in answer.body.decode()
    assert value(backend, "query", "m:visits") == before
    assert token not in caplog.text


@pytest.mark.parametrize(("token", "code"), BAD.values(), ids=BAD)
def test_an_endpoint_runs_and_is_told_when_it_asks(token: str, code: str, backend: Backend) -> None:
    careless = ask(backend.site, "GET", "/careless", headers=bearer(token))
    assert (careless.status, careless.body) == (200, b"null")
    asking = ask(backend.site, "GET", "/who", headers=bearer(token))
    assert asking.status == 500
    assert token not in asking.body.decode()


def test_an_app_may_be_its_own_provider(backend: Backend) -> None:
    tokens = [OWN.token(now(iss=backend.site, sub=f"user-{n}")) for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        subjects = list(threads.map(lambda t: value(backend, "query", "m:who", t), tokens))
    assert [told["tokenIdentifier"] for told in subjects] == [
        f"{backend.site}|user-{n}" for n in range(8)
    ]


def test_in_production_no_keys_are_fetched_from_the_machine_itself(tmp_path: Path) -> None:
    with served(tmp_path, APP, variables=VARIABLES, production=True) as backend:
        answer = post(backend, "query", "m:who", OWN.token(now(iss=backend.site)))
        assert (answer.status, json.loads(answer.body)) == (
            400,
            {
                "code": "AuthProviderDiscoveryFailed",
                "message": f"Auth provider discovery of {backend.site} failed",
            },
        )
        unknown = post(backend, "query", "m:who", SIGNER.token(now(iss="https://x.example")))
        assert json.loads(unknown.body)["message"] == (
            "No auth provider found matching the given token"
        )
        assert value(backend, "query", "m:who", token_of_ada()) == ADA


def test_a_save_changes_whom_an_app_believes_and_a_broken_one_does_not(tmp_path: Path) -> None:
    source = """
        auth_config = {{"providers": [{{
            "type": "customJwt", "issuer": "https://id.example.com",
            "jwks": {keys!r}, "algorithm": "ES256",
        }}]}}
    """

    def save(backend: Backend, text: str) -> None:
        (tmp_path / "convex/auth_config.py").write_text(dedent(text))
        backend.run(backend.deployment.push())

    app = {**APP, "auth_config.py": "auth_config = {'providers': []}"}
    with served(tmp_path, app, variables=VARIABLES) as backend:

        def accepted() -> list[bool]:
            answers = [post(backend, "query", "m:who", s.token(now())) for s in (SIGNER, OTHER)]
            return [answer.status == 200 for answer in answers]

        assert accepted() == [False, False]
        save(backend, source.format(keys=SIGNER.data_url()))
        assert accepted() == [True, False]
        with pytest.raises(LoadError, match=r"`jwks` must be an http or https URL"):
            save(backend, source.format(keys="nowhere"))
        assert accepted() == [True, False]
        save(backend, source.format(keys=OTHER.data_url()))
        assert accepted() == [False, True]
        (tmp_path / "convex/auth_config.py").unlink()
        backend.run(backend.deployment.push())
        assert accepted() == [False, False]


def test_a_token_ends_by_the_deployments_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    with served(tmp_path, APP, variables=VARIABLES, clock=clock) as backend:
        token = SIGNER.token(claims(exp=claims()["exp"] - 3500))
        assert post(backend, "query", "m:who", token).status == 200
        clock.advance(106)
        assert post(backend, "query", "m:who", token).status == 401


# ---- who a client of the sync protocol says it is ----


def access() -> Access:
    return Access("calm-owl-1", "calm-owl-1|0123", verifier(custom(SIGNER)))


async def authenticated(*told: Any) -> Any:
    try:
        return await access().authenticate(*told)
    except RequestError as error:
        return error.status, error.code


AUTHENTICATED: list[tuple[tuple[Any, ...], Any]] = [
    (("None", None), NOBODY),
    (("None", "whatever"), NOBODY),
    (("Admin", "calm-owl-1|0123"), ADMIN),
    (("Admin", "dev:calm-owl-1|0123"), ADMIN),
    (("Admin", "calm-owl-1|0124"), (401, "BadAdminKey")),
    (("Admin", None), (401, "BadAdminKey")),
    (("User", None), (401, "InvalidAuthHeader")),
    (("User", "calm-owl-1|0123"), (401, "InvalidAuthHeader")),
    (("Root", "calm-owl-1|0123"), (400, "BadTokenType")),
    (("Admin", "calm-owl-1|0124", {"issuer": "i", "subject": "s"}), (401, "BadAdminKey")),
    (("Admin", "calm-owl-1|0123", {"subject": "s"}), (400, "HeaderParseFailure")),
    (("Admin", "calm-owl-1|0123", {"tokenIdentifier": "s"}), (400, "HeaderParseFailure")),
    (("Admin", "calm-owl-1|0123", {"tokenIdentifier": 3}), (400, "HeaderParseFailure")),
    (
        ("Admin", "calm-owl-1|0123", {"issuer": "i", "subject": "s", "$x": 1}),
        (400, "HeaderParseFailure"),
    ),
]


@pytest.mark.parametrize(("told", "identity"), AUTHENTICATED)
def test_a_socket_is_told_who_is_there_or_why_not(told: tuple[Any, ...], identity: Any) -> None:
    assert asyncio.run(authenticated(*told)) == identity


def test_a_socket_is_told_who_a_user_is_and_until_when() -> None:
    user = asyncio.run(authenticated("User", SIGNER.token()))
    assert (user.attributes["subject"], user.is_admin) == ("user-1", False)
    assert user.expires_at == claims()["exp"] + 5


@pytest.mark.parametrize(
    "given", [{"issuer": "i", "subject": "a|b", "name": "Ada"}, {"tokenIdentifier": "i|a|b"}]
)
def test_a_socket_of_an_administrator_may_act_as_a_user(given: dict[str, Any]) -> None:
    acting = asyncio.run(authenticated("Admin", "calm-owl-1|0123", given))
    assert acting.is_admin
    assert acting.attributes == {
        **given,
        "tokenIdentifier": "i|a|b",
        "issuer": "i",
        "subject": "a|b",
    }
