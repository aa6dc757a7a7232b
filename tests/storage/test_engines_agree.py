"""Both engines, driven by the same random steps, give the same answers."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from camber.storage.engine import BY_ID, Batch, Commit, Engine, Reader, Snapshot, TableView, Write
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import SqliteEngine, open_sqlite

IDS = [f"{letter}{n}" for letter in "ab" for n in range(4)]
KEY_PARTS = [b"", b"\x00", b"k", b"k\x00", b"k\xff", b"m", b"\xff"]

bounds = st.sampled_from([*KEY_PARTS, b"a", b"a2", b"b", b"ka3", b"k\x00a1", b"\xff\xff"])
entry_sets = st.sets(st.tuples(st.integers(1, 3), st.sampled_from(KEY_PARTS)), max_size=4)


@dataclass
class Model:
    """What is there: enough to make writes that are legal."""

    bodies: dict[str, str] = field(default_factory=dict)
    entries: dict[str, set[tuple[int, bytes]]] = field(default_factory=dict)
    # The indexes 1 to 3 of the rules, as numbers that change when one is dropped.
    numbers: dict[int, int] = field(default_factory=lambda: {1: 1, 2: 2, 3: 3})


class EnginesAgree(RuleBasedStateMachine):
    """Every rule does the same to both engines, and compares what they answer."""

    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="camber-agree-"))
        self.memory: MemoryEngine = MemoryEngine()
        self.sqlite: SqliteEngine = self.run(self.open())
        self.batches: tuple[Batch, Batch] | None = None
        self.model = Model()
        self.draft = Model()
        self.next_number = 4
        self.ts = 0

    async def open(self) -> SqliteEngine:
        # Tiny limits, so that checkpoints of both kinds happen all the time.
        return await open_sqlite(
            self.folder / "camber.db", checkpoint_bytes=8 * 4096, restart_bytes=24 * 4096
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.sqlite.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @property
    def engines(self) -> tuple[Engine, Engine]:
        return self.memory, self.sqlite

    def both(self, ask: Callable[[Engine], Coroutine[Any, Any, Any]]) -> tuple[Any, Any]:
        expected, actual = (self.run(ask(engine)) for engine in self.engines)
        return expected, actual

    def same(self, readers: tuple[Reader, Reader], ask: Callable[[Reader], Any]) -> None:
        expected, actual = (self.run(ask(reader)) for reader in readers)
        assert actual == expected

    @initialize()
    def start(self) -> None:
        assert self.memory.ts == self.sqlite.ts == 0

    @precondition(lambda self: self.batches is None)
    @rule()
    def begin(self) -> None:
        self.batches = self.both(lambda engine: engine.begin())
        self.draft = deepcopy(self.model)

    @precondition(lambda self: self.batches is not None)
    @rule(
        steps=st.lists(
            st.tuples(st.sampled_from(IDS), st.booleans(), st.integers(0, 99), entry_sets),
            max_size=4,
            unique_by=lambda step: step[0],
        ),
        gap=st.integers(1, 5),
    )
    def apply(self, steps: list[tuple[str, bool, int, set[tuple[int, bytes]]]], gap: int) -> None:
        assert self.batches is not None
        writes = [self.make_write(*step) for step in steps]
        self.ts = max(self.ts, self.memory.ts) + gap
        for batch in self.batches:
            batch.apply(Commit(self.ts, writes))

    def make_write(self, id: str, delete: bool, n: int, entries: set[tuple[int, bytes]]) -> Write:
        draft = self.draft
        before = draft.bodies.get(id)
        old = draft.entries.get(id, set())
        if before is not None and delete:
            del draft.bodies[id]
            draft.entries.pop(id, None)
            return Write(id, before, None, sorted(old), [])
        after = f'{{"n": {n}}}' if n % 4 or before is None else before
        new = {(draft.numbers[index], part + id.encode()) for index, part in entries}
        draft.bodies[id] = after
        draft.entries[id] = new
        return Write(id, before, after, sorted(old - new), sorted(new - old))

    @precondition(lambda self: self.batches is not None)
    @rule(index=st.integers(1, 3))
    def drop_index(self, index: int) -> None:
        assert self.batches is not None
        number = self.draft.numbers[index]
        for batch in self.batches:
            batch.drop_index(number)
        self.draft.numbers[index] = self.next_number
        self.next_number += 1
        for id, entries in self.draft.entries.items():
            self.draft.entries[id] = {entry for entry in entries if entry[0] != number}

    @precondition(lambda self: self.batches is not None)
    @rule()
    def commit(self) -> None:
        assert self.batches is not None
        for batch in self.batches:
            self.run(batch.commit())
        self.batches = None
        self.model = self.draft

    @precondition(lambda self: self.batches is not None)
    @rule()
    def roll_back(self) -> None:
        assert self.batches is not None
        for batch in self.batches:
            batch.rollback()
        self.batches = None

    @rule(target=snapshots)
    def take_snapshot(self) -> tuple[Snapshot, Snapshot]:
        expected, actual = self.both(lambda engine: engine.snapshot())
        assert actual.ts == expected.ts
        return expected, actual

    @rule(snapshots=consumes(snapshots))
    def close_snapshot(self, snapshots: tuple[Snapshot, Snapshot]) -> None:
        for snapshot in snapshots:
            snapshot.close()

    @rule(snapshots=snapshots, id=st.sampled_from(IDS))
    def get_from_a_snapshot(self, snapshots: tuple[Snapshot, Snapshot], id: str) -> None:
        self.same(snapshots, lambda reader: reader.get(id))

    @rule(
        snapshots=snapshots,
        index=st.integers(0, 6),
        lower=bounds,
        upper=st.none() | bounds,
        reverse=st.booleans(),
        limit=st.integers(0, 12),
    )
    def scan_a_snapshot(
        self, snapshots: tuple[Snapshot, Snapshot], index: int, lower: bytes, **how: Any
    ) -> None:
        upper = how.pop("upper")
        self.same(snapshots, lambda reader: reader.scan(index, lower, upper, **how))

    @rule(id=st.sampled_from([*IDS, "", "zz"]))
    def get(self, id: str) -> None:
        self.same((self.memory.head, self.sqlite.head), lambda reader: reader.get(id))
        if self.batches is not None:
            self.same(self.batches, lambda reader: reader.get(id))

    @rule(
        index=st.integers(0, 6),
        lower=bounds,
        upper=st.none() | bounds,
        reverse=st.booleans(),
        limit=st.integers(0, 12),
    )
    def scan(self, index: int, lower: bytes, **how: Any) -> None:
        upper = how.pop("upper")
        heads = self.memory.head, self.sqlite.head
        self.same(heads, lambda reader: reader.scan(index, lower, upper, **how))
        if self.batches is not None:
            self.same(self.batches, lambda reader: reader.scan(index, lower, upper, **how))

    @rule(back=st.integers(0, 40), limit=st.integers(0, 10))
    def read_log(self, back: int, limit: int) -> None:
        expected, actual = self.both(lambda engine: engine.read_log(self.ts - back, limit=limit))
        assert actual == expected

    @precondition(lambda self: self.batches is None)
    @rule(back=st.integers(-3, 40))
    def trim_log(self, back: int) -> None:
        self.both(lambda engine: engine.trim_log(self.ts - back))

    @precondition(lambda self: self.batches is None)
    @rule(names=st.sets(st.sampled_from(["users", "Users", "sqlite_x", "a b"])))
    def set_views(self, names: set[str]) -> None:
        for engine in self.engines:
            engine.set_views([TableView(name, "a", "b", ["n"]) for name in sorted(names)])

    @precondition(lambda self: self.batches is None)
    @rule()
    def reopen(self) -> None:
        self.run(self.sqlite.close())
        self.sqlite = self.run(self.open())

    @invariant()
    def both_know_where_they_are(self) -> None:
        assert self.sqlite.ts == self.memory.ts
        expected, actual = (engine.statistics() for engine in self.engines)
        assert actual.documents == expected.documents
        assert actual.log_entries == expected.log_entries

    @invariant()
    def the_heads_hold_what_was_written(self) -> None:
        for engine in self.engines:
            rows = self.run(engine.head.scan(BY_ID, b"", None, reverse=False, limit=99))
            assert {key.decode(): body for key, body in rows} == self.model.bodies


EnginesAgree.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, database=None
)
TestEnginesAgree = EnginesAgree.TestCase
