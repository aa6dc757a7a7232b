"""Peer (b): the three endpoints as a FastAPI project commonly has them.

SQLAlchemy 2 with its async engine on aiosqlite, one session per request, pydantic models for
what comes in and what goes out. SQLite in WAL mode with `synchronous=FULL`; a message is durable
before its 200. The database file is named by the environment variable `DATABASE`.
"""

import os
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import event, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# How long a writer waits for the writer before it, in seconds.
_BUSY_TIMEOUT: Final = 30

engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ['DATABASE']}", connect_args={"timeout": _BUSY_TIMEOUT}
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def _make_durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


class Base(DeclarativeBase):
    """The tables of `bench/dataset.py`."""


class Message(Base):
    """One row of `messages`."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[float]
    author: Mapped[str]
    body: Mapped[str]


class Counter(Base):
    """One row of `counters`."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


class NewMessage(BaseModel):
    """What is posted."""

    author: str
    body: str


class MessageOut(BaseModel):
    """A message as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(serialization_alias="_id")
    created: float = Field(serialization_alias="_creationTime")
    author: str
    body: str


class CounterName(BaseModel):
    """Which counter to increment."""

    name: str


class CounterValue(BaseModel):
    """The counter after the increment."""

    value: int


async def _session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session)]

app = FastAPI()


@app.post("/postMessage")
async def post_message(message: NewMessage, session: Session) -> Response:
    session.add(
        Message(
            created=time.time() * 1000,
            author=message.author,
            body=f"Sent via HTTP endpoint: {message.body}",
        )
    )
    await session.commit()
    return Response(status_code=200)


@app.get("/getMessagesByAuthor", response_model=list[MessageOut])
async def get_messages_by_author(author: str, session: Session, salt: int = 0) -> Any:
    newest = (
        select(Message).where(Message.author == author).order_by(Message.created.desc()).limit(20)
    )
    return (await session.scalars(newest)).all()


@app.post("/increment")
async def increment(counter: CounterName, session: Session) -> CounterValue:
    # One statement, so that no increment is lost and no snapshot can be outdated.
    statement = (
        insert(Counter)
        .values(name=counter.name, value=1)
        .on_conflict_do_update(index_elements=[Counter.name], set_={"value": Counter.value + 1})
        .returning(Counter.value)
    )
    value = (await session.scalars(statement)).one()
    await session.commit()
    return CounterValue(value=value)
