"""The standard modules that app code sees in place of `time`, `random` and their like.

Each looks and works like the real one. Within a query or mutation its clock stands still, at UTC,
and its chance comes from the execution's seeded stream; elsewhere (while a module loads, in an
HTTP endpoint) every call goes to the real one. What libraries import for themselves stays real.
"""

import base64
import calendar
import datetime
import functools
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from random import Random
from types import ModuleType
from typing import Any, Final, Never

from camber.functions.execution import Environment, Execution, current
from camber.functions.frames import refusal


class Substitute(ModuleType):
    """A module like `real`, but for the names in `replaced`."""

    def __init__(self, real: ModuleType, replaced: Mapping[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        # The whole namespace, so that `from time import *` finds what `time` has.
        self.__dict__.update(vars(real))
        self.__dict__.update(replaced)
        self.__dict__["_camber_real"] = real

    def __getattr__(self, name: str) -> Any:
        # For what the real module got, or computes, later.
        return getattr(self.__dict__["_camber_real"], name)


def deterministic() -> Execution | None:
    """The current execution, if it is a query's or a mutation's."""
    execution = current()
    if execution is not None and execution.environment is Environment.DETERMINISTIC:
        return execution
    return None


def _replaced(real: Callable[..., Any], inside: Callable[..., Any]) -> Callable[..., Any]:
    """A function like `real`, which is `inside(execution, …)` within a query or mutation."""

    @functools.wraps(real)
    def function(*args: Any, **options: Any) -> Any:
        execution = deterministic()
        if execution is None:
            return real(*args, **options)
        return inside(execution, *args, **options)

    return function


# time


def _seconds(execution: Execution, _clock: int = 0) -> float:
    return execution.read_clock() / 1e9


def _nanoseconds(execution: Execution, _clock: int = 0) -> int:
    return execution.read_clock()


def _utc_tuple(execution: Execution, seconds: float | None = None) -> time.struct_time:
    return time.gmtime(execution.read_clock() / 1e9 if seconds is None else seconds)


def _utc_text(execution: Execution, seconds: float | None = None) -> str:
    return time.asctime(_utc_tuple(execution, seconds))


def _text(execution: Execution, parts: Any = None) -> str:
    return time.asctime(_utc_tuple(execution) if parts is None else parts)


def _formatted(execution: Execution, format: str, parts: Any = None) -> str:
    return time.strftime(format, _utc_tuple(execution) if parts is None else parts)


def _epoch_seconds(_execution: Execution, parts: Any) -> float:
    return float(calendar.timegm(tuple(parts)))


def _time_substitute() -> Substitute:
    insides: dict[str, Callable[..., Any]] = {
        "localtime": _utc_tuple,
        "gmtime": _utc_tuple,
        "ctime": _utc_text,
        "asctime": _text,
        "strftime": _formatted,
        "mktime": _epoch_seconds,
    }
    clocks = ("time", "monotonic", "perf_counter", "process_time", "thread_time", "clock_gettime")
    for clock in clocks:
        insides[clock] = _seconds
        insides[f"{clock}_ns"] = _nanoseconds
    return Substitute(
        time, {name: _replaced(getattr(time, name), inside) for name, inside in insides.items()}
    )


# datetime

_EPOCH: Final = datetime.datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class _LikeDate(type):
    """Makes every real date an instance of the substitute, and every real subclass a subclass."""

    def __instancecheck__(cls, instance: object) -> bool:
        if "_substitute" in vars(cls):
            return isinstance(instance, cls.__mro__[1])
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        if "_substitute" in vars(cls):
            return issubclass(subclass, cls.__mro__[1])
        return super().__subclasscheck__(subclass)


def _since_epoch(execution: Execution) -> datetime.timedelta:
    return datetime.timedelta(microseconds=execution.read_clock() // 1000)


class _Date(datetime.date, metaclass=_LikeDate):
    """`datetime.date`, whose `today` is the execution's. Its instances are ordinary dates."""

    _substitute = True

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if "_substitute" in vars(cls):
            return datetime.date(*args, **options)
        return super().__new__(cls, *args, **options)

    @classmethod
    def today(cls) -> Any:
        execution = deterministic()
        if execution is None:
            return super().today()
        day = _EPOCH + _since_epoch(execution)
        return cls(day.year, day.month, day.day)

    @classmethod
    def fromtimestamp(cls, timestamp: float, /) -> Any:
        if deterministic() is None:
            return super().fromtimestamp(timestamp)
        day = _EPOCH + datetime.timedelta(seconds=timestamp)
        return cls(day.year, day.month, day.day)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(datetime.date)


class _Datetime(datetime.datetime, metaclass=_LikeDate):
    """`datetime.datetime`, whose `now` is the execution's. Its instances are ordinary ones."""

    _substitute = True

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if "_substitute" in vars(cls):
            return datetime.datetime(*args, **options)
        return super().__new__(cls, *args, **options)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        execution = deterministic()
        if execution is None:
            return super().now(tz)
        return _made_from(cls, _since_epoch(execution), tz)

    @classmethod
    def utcnow(cls) -> Any:
        execution = deterministic()
        if execution is None:
            return super().utcnow()
        return _made_from(cls, _since_epoch(execution), None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: datetime.tzinfo | None = None) -> Any:
        if deterministic() is None:
            return super().fromtimestamp(timestamp, tz)
        return _made_from(cls, datetime.timedelta(seconds=timestamp), tz)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(datetime.datetime)


def _made_from(
    cls: type[_Datetime], since_epoch: datetime.timedelta, tz: datetime.tzinfo | None
) -> Any:
    """A `cls` that long after 1970; naive ones are in UTC, which is the local time of a body."""
    moment = _EPOCH + since_epoch if tz is None else (_EPOCH_UTC + since_epoch).astimezone(tz)
    return cls.combine(moment.date(), moment.timetz())


for _cls, _shown in ((_Date, datetime.date), (_Datetime, datetime.datetime)):
    _cls.__name__ = _shown.__name__
    _cls.__qualname__ = _shown.__qualname__
    _cls.__module__ = "datetime"
    _cls.__doc__ = _shown.__doc__


# random, secrets, uuid, os


class _Random(random.Random):
    """`random.Random`, which seeds itself from the execution when it is given no seed."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        execution = deterministic() if a is None else None
        super().seed(a if execution is None else execution.random.getrandbits(128), version)


class _SystemRandom(random.SystemRandom):
    """`random.SystemRandom`, drawing from the execution's stream."""

    def random(self) -> float:
        execution = deterministic()
        return super().random() if execution is None else execution.random.random()

    def getrandbits(self, k: int, /) -> int:
        execution = deterministic()
        return super().getrandbits(k) if execution is None else execution.random.getrandbits(k)

    def randbytes(self, n: int) -> bytes:
        execution = deterministic()
        return super().randbytes(n) if execution is None else execution.random.randbytes(n)


_system_random: Final = _SystemRandom()


def _stream_method(name: str) -> Callable[..., Any]:
    def inside(execution: Execution, *args: Any, **options: Any) -> Any:
        return getattr(execution.random, name)(*args, **options)

    return inside


def _seed_stream(execution: Execution, a: Any = None, version: int = 2) -> None:
    # Without a seed it asks for fresh chance, and the stream is as fresh as it gets.
    if a is not None:
        execution.random.seed(a, version)


def _random_substitute() -> Substitute:
    replaced: dict[str, Any] = {"Random": _Random, "SystemRandom": _SystemRandom}
    for name in random.__all__:
        real = getattr(random, name)
        # The module's functions are methods of one hidden generator.
        if isinstance(getattr(real, "__self__", None), Random):
            replaced[name] = _replaced(real, _stream_method(name))
    replaced["seed"] = _replaced(random.seed, _seed_stream)
    return Substitute(random, replaced)


def _random_bytes(execution: Execution, nbytes: int | None = None, _flags: int = 0) -> bytes:
    return execution.random.randbytes(secrets.DEFAULT_ENTROPY if nbytes is None else nbytes)


def _random_hex(execution: Execution, nbytes: int | None = None) -> str:
    return _random_bytes(execution, nbytes).hex()


def _random_urlsafe(execution: Execution, nbytes: int | None = None) -> str:
    encoded = base64.urlsafe_b64encode(_random_bytes(execution, nbytes))
    return encoded.rstrip(b"=").decode("ascii")


def _secrets_substitute() -> Substitute:
    return Substitute(
        secrets,
        {
            "SystemRandom": _SystemRandom,
            "choice": _system_random.choice,
            "randbits": _system_random.getrandbits,
            "randbelow": _replaced(secrets.randbelow, lambda e, n: _system_random.randrange(n)),
            "token_bytes": _replaced(secrets.token_bytes, _random_bytes),
            "token_hex": _replaced(secrets.token_hex, _random_hex),
            "token_urlsafe": _replaced(secrets.token_urlsafe, _random_urlsafe),
        },
    )


# 100 ns steps from the start of the Gregorian calendar, which uuid1 counts from, to 1970.
_GREGORIAN_STEPS: Final = 0x01B21DD213814000


def _uuid1(
    execution: Execution, node: int | None = None, clock_seq: int | None = None
) -> uuid.UUID:
    steps = execution.read_clock() // 100 + _GREGORIAN_STEPS
    if node is None:
        # The bit that marks a node as random, not as a network card.
        node = execution.random.getrandbits(48) | (1 << 40)
    if clock_seq is None:
        clock_seq = execution.random.getrandbits(14)
    return uuid.UUID(
        fields=(
            steps & 0xFFFFFFFF,
            (steps >> 32) & 0xFFFF,
            (steps >> 48) & 0x0FFF,
            (clock_seq >> 8) & 0x3F,
            clock_seq & 0xFF,
            node,
        ),
        version=1,
    )


def _uuid4(execution: Execution) -> uuid.UUID:
    return uuid.UUID(bytes=execution.random.randbytes(16), version=4)


def _uuid_substitute() -> Substitute:
    return Substitute(
        uuid, {"uuid1": _replaced(uuid.uuid1, _uuid1), "uuid4": _replaced(uuid.uuid4, _uuid4)}
    )


def _ends_the_server(real: Callable[..., Never]) -> Callable[..., Never]:
    """`os._exit` and its like, refused inside any execution in the server's process."""

    @functools.wraps(real)
    def function(*args: Any, **options: Any) -> Never:
        execution = current()
        if execution is None:
            real(*args, **options)
        raise refusal(f"os.{real.__name__}()", execution.environment.phrase)

    return function


def _os_substitute() -> Substitute:
    replaced: dict[str, Any] = {"urandom": _replaced(os.urandom, _random_bytes)}
    if hasattr(os, "getrandom"):
        replaced["getrandom"] = _replaced(os.getrandom, _random_bytes)
    # No audit event is raised for these, so they are refused here.
    replaced["_exit"] = _ends_the_server(os._exit)
    replaced["abort"] = _ends_the_server(os.abort)
    return Substitute(os, replaced)


SUBSTITUTES: Final[Mapping[str, Substitute]] = {
    "time": _time_substitute(),
    "datetime": Substitute(datetime, {"date": _Date, "datetime": _Datetime}),
    "random": _random_substitute(),
    "secrets": _secrets_substitute(),
    "uuid": _uuid_substitute(),
    "os": _os_substitute(),
}
"""By name, what an import statement in an app module gets."""
