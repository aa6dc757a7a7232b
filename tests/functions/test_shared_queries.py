"""Two users and one query, in every order of things: nobody ever gets what is another's (S8)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from apps import OpenApp, opened
from hypothesis import given, settings
from hypothesis import strategies as st

from camber.clock import ManualClock
from camber.errors import RequestError
from camber.functions.cache import Entry
from camber.functions.identity import NOBODY, Identity

APP = {
    "m.py": """
        from camber import mutation, query

        @query
        async def mine(ctx, n: int):
            user = await ctx.auth.get_user_identity()
            print("ran", n)
            return [user and user["tokenIdentifier"], len(await ctx.db.query("rows").collect())]

        @query
        async def ours(ctx, n: int):
            print("ran", n)
            return [None, len(await ctx.db.query("rows").collect())]

        @query
        async def sometimes_mine(ctx, n: int):
            print("ran", n)
            rows = await ctx.db.query("rows").collect()
            user = await ctx.auth.get_user_identity() if len(rows) % 2 else None
            return [user and user["tokenIdentifier"], len(rows)]

        @query
        async def my_failure(ctx, n: int):
            user = await ctx.auth.get_user_identity()
            rows = await ctx.db.query("rows").collect()
            raise ValueError([user and user["tokenIdentifier"], len(rows)])

        @mutation
        async def add(ctx) -> None:
            await ctx.db.insert("rows", {})

        @mutation
        async def elsewhere(ctx) -> None:
            await ctx.db.insert("others", {})
    """,
}
USERS = (NOBODY, Identity({"tokenIdentifier": "ann"}), Identity({"tokenIdentifier": "bob"}))
QUERIES = ("mine", "ours", "sometimes_mine", "my_failure")


class Client:
    """One who watches one query, for one user."""

    def __init__(self, name: str, user: Identity) -> None:
        self.name = name
        self.user = user
        self.entry: Entry | None = None
        self.is_stale = True

    def changed(self) -> None:
        assert not self.is_stale, "told once"
        self.is_stale = True

    def expected(self, rows: int) -> list[Any]:
        looks = self.name in ("mine", "my_failure") or (self.name == "sometimes_mine" and rows % 2)
        attributes = self.user.attributes
        return [(attributes and looks and attributes["tokenIdentifier"]) or None, rows]

    def read(self, app: OpenApp, n: int) -> None:
        """Evaluate anew, as a session does."""
        entry = app.runner.query_now(app.invocation(f"m:{self.name}", {"n": n}, self.user))
        assert entry is not None
        self.is_stale = False
        if entry is not self.entry:
            self.leave()
            entry.watch(self)
            self.entry = entry

    def leave(self) -> None:
        if self.entry is not None:
            self.entry.unwatch(self)
            self.entry = None

    def seen(self) -> Any:
        assert self.entry is not None
        outcome = self.entry.outcome
        return outcome.value() if outcome.error is None else outcome.error.args[0]


steps = st.lists(
    st.tuples(
        st.sampled_from(("watch", "watch", "leave", "call", "add", "elsewhere", "wait")),
        st.sampled_from(QUERIES),
        st.integers(0, len(USERS) - 1),
    ),
    min_size=5,
    max_size=60,
)


@contextmanager
def running(folder: Path, clock: ManualClock) -> Iterator[tuple[asyncio.Runner, OpenApp]]:
    with asyncio.Runner() as runner:
        context = opened(folder, APP, clock)
        app = runner.run(context.__aenter__())
        try:
            yield runner, app
        finally:
            runner.run(context.__aexit__(None, None, None))


def test_nobody_ever_gets_what_is_anothers_and_everything_runs_once_per_change(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    rows = 0
    round_ = 0
    with running(tmp_path, clock) as (runner, app):

        @settings(max_examples=120, deadline=None)
        @given(steps)
        def check(plays: list[tuple[str, str, int]]) -> None:
            nonlocal round_
            round_ += 1
            runner.run(asyncio.wait_for(play(plays, round_), 30))

        async def play(plays: list[tuple[str, str, int]], n: int) -> None:
            nonlocal rows
            clients = {
                (name, who): Client(name, USERS[who]) for name in QUERIES for who in (0, 1, 2)
            }
            watching: set[tuple[str, int]] = set()
            app.told.clear()
            for what, name, who in plays:
                client = clients[name, who]
                if what == "watch":
                    client.read(app, n)
                    watching.add((name, who))
                elif what == "leave":
                    client.leave()
                    client.is_stale = True
                    watching.discard((name, who))
                elif what == "call":
                    invocation = app.invocation(f"m:{name}", {"n": n}, USERS[who])
                    outcome = await app.runner.run_query(invocation)
                    got = outcome.value() if outcome.error is None else outcome.error.args[0]
                    assert got == client.expected(rows)
                elif what == "wait":
                    clock.advance(5.0)
                else:
                    await app.call(f"m:{what}")
                    rows += what == "add"
                check_all(clients, watching, what == "add", n)
            for client in clients.values():
                client.leave()

        def check_all(
            clients: dict[tuple[str, int], Client],
            watching: set[tuple[str, int]],
            is_changed: bool,
            n: int,
        ) -> None:
            app.told.clear()
            for which in sorted(watching):
                client = clients[which]
                assert client.is_stale == is_changed
                if client.is_stale:
                    client.read(app, n)
                assert client.seen() == client.expected(rows)
                assert client.entry is not None
                assert client.entry.is_current
            if not is_changed:
                assert app.told == []
            for path in ("ours", "mine", "sometimes_mine"):
                users = len([who for name, who in watching if name == path])
                looks = path == "mine" or (path == "sometimes_mine" and rows % 2)
                most = users if looks else min(users, 1)
                assert app.runs(f"m:{path}") == (most if is_changed else 0)

        check()


def test_a_refused_token_is_not_taken_for_nobody(tmp_path: Path) -> None:
    refused = Identity(refusal=RequestError(401, "Unauthenticated", "expired"))

    async def main() -> None:
        async with opened(tmp_path, APP) as app:
            nobody = app.runner.query_now(app.invocation("m:mine", {"n": 0}))
            assert nobody is not None
            nobody.watch(Client("mine", NOBODY))
            entry = app.runner.query_now(app.invocation("m:mine", {"n": 0}, refused))
            assert entry is not None
            with pytest.raises(RequestError, match="expired"):
                entry.outcome.value()

    asyncio.run(main())
