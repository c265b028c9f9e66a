"""The Telegram client against a local stand-in: retries, waits, refusals, and a token that never shows."""

from __future__ import annotations

import logging
import socket
import traceback

import pytest

from quant_pipeline.errors import ConfigError
from quant_pipeline.monitoring.telegram import NoAnswerError, NotDeliveredError, TelegramClient, from_environment

TOKEN = "123456:AA-secret_Token"  # noqa: S105 -- made up
TOO_MANY = (429, {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 7}})


def client(stand_in, waits=None, **settings: float):
    return TelegramClient(TOKEN, "42", stand_in.url, sleep=(waits if waits is not None else []).append, **settings)


def test_a_message_arrives_once_with_its_chat(stand_in):
    assert client(stand_in).send("hello") == 1
    assert stand_in.received == [{"chat_id": "42", "text": "hello"}]
    assert stand_in.paths == [f"/bot{TOKEN}/sendMessage"]


def test_429_waits_as_long_as_it_is_told_and_5xx_backs_off(stand_in):
    waits = []
    stand_in.plan = [TOO_MANY, (502, "Bad Gateway"), (500, {})]
    client(stand_in, waits).send("hello")
    assert waits == [7.0, 1.0, 2.0]
    assert len(stand_in.received) == 4


def test_it_gives_up_after_its_attempts(stand_in):
    stand_in.plan = [(503, "")] * 9
    with pytest.raises(NotDeliveredError, match="HTTP 503"):
        client(stand_in, attempts=3).send("hello")
    assert len(stand_in.received) == 3


def test_a_long_wait_is_left_to_a_later_call(stand_in):
    stand_in.plan = [(429, {"ok": False, "parameters": {"retry_after": 3_600}})]
    with pytest.raises(NotDeliveredError, match="429"):
        client(stand_in).send("hello")
    assert len(stand_in.received) == 1


def told_to_wait(text):
    return 429, f'{{"ok": false, "parameters": {{"retry_after": {text}}}}}'


@pytest.mark.parametrize(
    ("told", "waited"), [("-5", 0.0), ("0.25", 0.25), ("NaN", 0.5), ('"7"', 0.5), ("true", 0.5), ("null", 0.5)]
)
def test_only_a_wait_that_can_be_waited_is_obeyed(stand_in, told, waited):
    waits = []
    stand_in.plan = [told_to_wait(told)]
    client(stand_in, waits).send("hello")
    assert waits == [waited]


@pytest.mark.parametrize(("told", "waited"), [("3600", 3_600), ("1e400", 86_400), ("1" + "0" * 400, 86_400)])
def test_a_long_wait_is_told_to_whoever_tries_later_and_bounded(stand_in, told, waited):
    stand_in.plan = [told_to_wait(told)]
    with pytest.raises(NotDeliveredError, match="429") as caught:
        client(stand_in).send("hello")
    assert caught.value.wait == waited


@pytest.mark.parametrize("answer", [(400, "no gzip", {"Content-Encoding": "gzip"}), (400, '{"parameters": 3}'), (400, "[1]")])
def test_a_refusal_that_nobody_can_read_is_survived(stand_in, answer):
    stand_in.plan = [answer]
    with pytest.raises((NotDeliveredError, NoAnswerError)):
        client(stand_in).send("hello")


def test_a_chat_that_moved_is_told_with_its_new_id(stand_in):
    description = "Bad Request: group chat was upgraded to a supergroup chat"
    stand_in.plan = [(400, {"ok": False, "description": description, "parameters": {"migrate_to_chat_id": -100123}})]
    with pytest.raises(NotDeliveredError, match=r"supergroup, whose id is -100123.*set QUANT_TELEGRAM_CHAT=-100123"):
        client(stand_in).send("hello")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_repeated_and_says_what_to_check(stand_in, status):
    stand_in.plan = [(status, {"ok": False, "description": "Unauthorized"})]
    with pytest.raises(NotDeliveredError, match=f"HTTP {status} Unauthorized.*check QUANT_TELEGRAM_TOKEN"):
        client(stand_in).send("hello")
    assert len(stand_in.received) == 1


NOT_TELEGRAMS = [
    (200, "not json"),
    (200, {"ok": True}),
    (200, '{"ok": true, "result": {"message_id": 1e400}}'),
    (200, "[" * 100_000),
    (200, "no gzip", {"Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize("silence", ["hang", "drop", *NOT_TELEGRAMS])
def test_a_message_without_an_answer_is_not_repeated(stand_in, silence):
    stand_in.plan = [silence]
    with pytest.raises(NoAnswerError):
        client(stand_in, timeout=0.3).send("hello")
    assert len(stand_in.received) == 1


def test_a_server_that_is_down_is_tried_again():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits = []
    with pytest.raises(NotDeliveredError, match="ConnectError"):
        TelegramClient(TOKEN, "42", f"http://127.0.0.1:{port}", sleep=waits.append).send("hello")
    assert waits == [0.5, 1.0, 2.0]


def test_a_long_text_is_cut(stand_in):
    client(stand_in).send("x" * 5_000)
    assert len(stand_in.texts[0]) == 4_096
    assert stand_in.texts[0].endswith("x…")


@pytest.mark.parametrize("plan", [[], [(401, {"description": f"no bot {TOKEN}"})], ["drop"], [(500, "")] * 9])
def test_the_token_shows_nowhere(stand_in, plan, caplog):
    caplog.set_level(logging.DEBUG)
    stand_in.plan, told = list(plan), ""
    sender = client(stand_in)
    try:
        sender.send("hello")
    except (NotDeliveredError, NoAnswerError) as error:
        told = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__context__)
    assert "secret" not in caplog.text + told + repr(sender) + repr(vars(sender))
    assert "/bot***/sendMessage" in caplog.text or plan == ["drop"]


@pytest.mark.parametrize("url", ["http://bad host", "ftp://127.0.0.1/x", "nonsense"])
def test_an_unusable_url_is_an_error_without_the_token(url):
    with pytest.raises((NotDeliveredError, NoAnswerError)) as caught:
        TelegramClient(TOKEN, "42", url, sleep=[].append).send("hello")
    assert "secret" not in str(caught.value)


def test_from_environment():
    assert from_environment({}) is None
    assert from_environment({"QUANT_TELEGRAM_TOKEN": " "}) is None
    with pytest.raises(ConfigError, match="QUANT_TELEGRAM_CHAT"):
        from_environment({"QUANT_TELEGRAM_TOKEN": TOKEN})
    made = from_environment(
        {"QUANT_TELEGRAM_TOKEN": TOKEN, "QUANT_TELEGRAM_CHAT": "42", "QUANT_TELEGRAM_URL": "http://127.0.0.1:9/"}
    )
    assert repr(made) == "TelegramClient(chat_id='42', base_url='http://127.0.0.1:9')"
    plain = from_environment({"QUANT_TELEGRAM_TOKEN": TOKEN, "QUANT_TELEGRAM_CHAT": "42"})
    assert "https://api.telegram.org" in repr(plain)
