import logging
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.capture import LINE_BYTES_MAX, CaptureHandler, LogCapture, install
from camber.functions.execution import Environment, Execution, current_execution, current_log

# What official clients split a line by.
CLIENT_PATTERN = re.compile(r"^\[.*?\] ")


def test_a_line_has_level_text_and_time() -> None:
    log = LogCapture()
    log.add("LOG", "hello")
    (line,) = log.lines
    assert (line.level, line.text, line.truncated) == ("LOG", "hello", False)
    assert line.timestamp_ms > 1_700_000_000_000
    assert log.wire_lines() == ["[LOG] hello"]


def test_an_empty_capture_has_no_lines() -> None:
    assert list(LogCapture().lines) == []
    assert LogCapture().wire_lines() == []


def test_255_lines_are_kept_and_the_256th_says_that_there_were_more() -> None:
    log = LogCapture()
    for number in range(1000):
        log.add("INFO", str(number))
    lines = log.wire_lines()
    assert len(lines) == 256
    assert lines[254] == "[INFO] 254"
    assert lines[255] == "[ERROR] Log overflow (maximum 256). Remaining log lines omitted."


def test_lines_of_a_called_function_count_towards_the_bound() -> None:
    called, log = LogCapture(), LogCapture()
    for number in range(200):
        called.add("LOG", str(number))
        log.add("LOG", str(number))
    log.extend(called.lines)
    assert len(log.lines) == 256
    assert log.lines[255].level == "ERROR"


def test_a_line_is_cut_at_32768_bytes() -> None:
    log = LogCapture()
    log.add("WARN", "x" * 32_768)
    log.add("WARN", "x" * 32_769)
    whole, cut = log.wire_lines()
    assert whole == "[WARN] " + "x" * 32_768
    assert cut == "[WARN] " + "x" * 32_768 + " (truncated due to length)"


@given(st.text(), st.integers(0, 20_000))
def test_any_text_becomes_a_line_that_clients_can_split(text: str, repeats: int) -> None:
    log = LogCapture()
    log.add("LOG", text * repeats)
    (line,) = log.lines
    assert CLIENT_PATTERN.match(line.wire())
    assert len(line.text.encode()) <= LINE_BYTES_MAX
    assert (text * repeats).startswith(line.text)


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    log = LogCapture()
    log.add("LOG", "a\ud800b")
    assert log.wire_lines() == ["[LOG] a?b"]


@pytest.mark.parametrize(
    ("level", "wire"),
    [
        (logging.DEBUG, "[DEBUG] 7 left"),
        (logging.INFO, "[INFO] 7 left"),
        (logging.WARNING, "[WARN] 7 left"),
        (logging.ERROR, "[ERROR] 7 left"),
        (logging.CRITICAL, "[ERROR] 7 left"),
    ],
)
def test_logging_inside_an_execution_becomes_a_line(level: int, wire: str) -> None:
    execution = Execution(Environment.DETERMINISTIC, "stock:list", 0, 1)
    handler = install(current_log)
    logger = logging.getLogger("app.stock")
    logger.setLevel(logging.DEBUG)
    token = current_execution.set(execution)
    try:
        logger.log(level, "%d left", 7)
    finally:
        current_execution.reset(token)
        logging.getLogger().removeHandler(handler)
    assert execution.log.wire_lines() == [wire]


def test_a_record_that_cannot_be_formatted_is_a_line_too() -> None:
    execution = Execution(Environment.DETERMINISTIC, "stock:list", 0, 1)
    token = current_execution.set(execution)
    try:
        record = logging.LogRecord("app", logging.INFO, __file__, 1, "%d left", ("many",), None)
        CaptureHandler(current_log).handle(record)
    finally:
        current_execution.reset(token)
    (line,) = execution.log.lines
    assert line.text.startswith("'%d left'")


def test_logging_outside_an_execution_is_left_alone_and_the_handler_is_there_once() -> None:
    handler = install(current_log)
    try:
        assert install(current_log) is handler
        logging.getLogger("app.stock").warning("nobody listens")
        assert logging.getLogger().handlers.count(handler) == 1
    finally:
        logging.getLogger().removeHandler(handler)


def test_where_logging_is_not_set_up_warnings_still_reach_the_terminal() -> None:
    program = """
import logging
from camber.functions.capture import install
install(lambda: None)
logging.info("quiet")
logging.warning("loud")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stderr == "loud\n"
