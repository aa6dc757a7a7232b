"""What a run of the endpoints benchmark found: medians, ratios, targets; as a table or as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

from bench.load import Tally
from bench.process import Footprint

PEERS: Final = ("peer-b", "peer-c")

TITLES: Final = {
    "camber": "(a) Camber",
    "peer-b": "(b) FastAPI + SQLAlchemy + aiosqlite",
    "peer-c": "(c) Starlette + apsw, by hand",
}

JOB_TITLES: Final = {
    "get-cached": "GET: the newest 20 messages of one of 100 authors (results may be cached)",
    "get-uncached": "GET: the same of 1,000 authors, no two requests alike (nothing is cached)",
    "counter": "POST: increment one counter, all clients the same",
    "post": "POST: validate and insert a message, durably",
}

# The least ratio of Camber's requests per second to a peer's.
RATIO_TARGETS: Final = {
    "get-cached": {"peer-b": 20.0, "peer-c": 1.3},
    "get-uncached": {"peer-b": 8.0, "peer-c": 0.6},
    "counter": {"peer-b": 12.0, "peer-c": 2.5},
    "post": {"peer-b": 12.0, "peer-c": 2.5},
}
POST_P99_TARGET_MS: Final = 15.0

# Above this share of its core, the load generator was what limited the figure.
BUSY_LIMIT: Final = 0.97


@dataclass(frozen=True, slots=True)
class Round:
    """One side doing one job once."""

    tally: Tally
    footprint: Footprint
    cpu_seconds: float
    lost_updates: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The median round of one side at one job; failures and lost updates are summed."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    resident_mb: float
    peak_mb: float
    cpu_us: float
    """Processor time of the server per request, in µs."""
    busy: float
    failed: int
    lost_updates: int
    first_failure: str


def summarize(rounds: Sequence[Round]) -> Summary:
    tallies = [one.tally for one in rounds]
    return Summary(
        requests_per_second=median(tally.requests_per_second for tally in tallies),
        p50_ms=median(tally.p50_ms for tally in tallies),
        p99_ms=median(tally.p99_ms for tally in tallies),
        resident_mb=median(one.footprint.resident_mb for one in rounds),
        peak_mb=max(one.footprint.peak_mb for one in rounds),
        cpu_us=median(one.cpu_seconds / _answers(one.tally) * 1e6 for one in rounds),
        busy=median(tally.busy for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        lost_updates=sum(one.lost_updates for one in rounds),
        first_failure=next((tally.first_failure for tally in tallies if tally.failed), ""),
    )


def _answers(tally: Tally) -> int:
    return max(tally.answered + tally.failed, 1)


Results = Mapping[str, Mapping[str, Summary]]
"""Job, then side."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Camber's requests per second over a peer's."""

    job: str
    peer: str
    value: float
    target: float

    @property
    def reached(self) -> bool:
        return self.value >= self.target


def ratios(results: Results) -> list[Ratio]:
    """Those of all jobs that Camber and a peer both did."""
    return [
        Ratio(job, peer, _ratio(sides["camber"], sides[peer]), RATIO_TARGETS[job][peer])
        for job, sides in results.items()
        for peer in PEERS
        if "camber" in sides and peer in sides
    ]


def _ratio(camber: Summary, peer: Summary) -> float:
    return camber.requests_per_second / peer.requests_per_second


def as_json(results: Results, setting: Mapping[str, object]) -> dict[str, Any]:
    return {
        "setting": dict(setting),
        "jobs": {
            job: {side: asdict(summary) for side, summary in sides.items()}
            for job, sides in results.items()
        },
        "ratios": [{**asdict(ratio), "reached": ratio.reached} for ratio in ratios(results)],
    }


def as_text(results: Results, setting: Mapping[str, object]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in setting.items())]
    for job, sides in results.items():
        lines += ["", JOB_TITLES[job], _HEADING]
        lines += [_row(side, summary) for side, summary in sides.items()]
        lines += _ratio_lines(ratio for ratio in ratios(results) if ratio.job == job)
        if job == "post" and "camber" in sides:
            lines.append(_target_line("p99, ms", sides["camber"].p99_ms, POST_P99_TARGET_MS))
        lines += _remarks(sides)
    return "\n".join(lines)


_HEADING: Final = (
    f"  {'':38}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'MB':>7}{'peak':>7}{'cpu µs':>8}{'failed':>8}"
)


def _row(side: str, summary: Summary) -> str:
    return (
        f"  {TITLES[side]:38}{summary.requests_per_second:>9,.0f}{summary.p50_ms:>9.2f}"
        f"{summary.p99_ms:>9.2f}{summary.resident_mb:>7.0f}{summary.peak_mb:>7.0f}"
        f"{summary.cpu_us:>8.1f}{summary.failed:>8}"
    )


def _ratio_lines(found: Iterable[Ratio]) -> list[str]:
    return [
        f"  against ({ratio.peer[-1]}): {ratio.value:.2f}x  (target {ratio.target:g}x: "
        f"{'reached' if ratio.reached else 'MISSED'})"
        for ratio in found
    ]


def _target_line(what: str, value: float, most: float) -> str:
    return f"  {what}: {value:.1f}  (target {most:g}: {'reached' if value <= most else 'MISSED'})"


def _remarks(sides: Mapping[str, Summary]) -> list[str]:
    remarks = []
    for side, summary in sides.items():
        if summary.lost_updates:
            remarks.append(f"  {TITLES[side]} LOST {summary.lost_updates} updates")
        if summary.failed:
            remarks.append(f"  {TITLES[side]} FAILED: {summary.first_failure[:300]!r}")
        if summary.busy > BUSY_LIMIT:
            remarks.append(
                f"  {TITLES[side]} was limited by the load generator ({summary.busy:.0%} busy)"
            )
    return remarks
