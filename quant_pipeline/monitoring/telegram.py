"""Telegram over plain HTTPS: one method, retries that cannot repeat a message, and a token that nobody gets to see."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import pydantic
import tenacity

from quant_pipeline.errors import ConfigError, SourceError

LONGEST = 4096  # characters that Telegram takes in one message
LONGEST_WAIT = 60.0  # seconds; whoever is asked to wait longer tries again later instead of blocking a run
LONGEST_PAUSE = 86_400.0  # seconds; Telegram asks for hours at most, so a longer wait is a mistake of who answered
_TOKEN_IN_URL = re.compile(r"(/bot)[^/\s\"']+")


class NotDeliveredError(SourceError):
    """Telegram refused or was not reached: the message was certainly not delivered.

    `wait`: seconds for which Telegram wants to be left alone, None when it did not say.
    """

    wait: float | None = None


class NoAnswerError(SourceError):
    """The message went out and no answer came: it may or may not have been delivered."""


class RetrySoonError(NotDeliveredError):
    """Not delivered, and worth another try after `wait` seconds (None: the usual backoff)."""


Refusal = TypeVar("Refusal", bound=SourceError)


class _Redact(logging.Filter):
    """httpx logs every URL at INFO, and Telegram's URLs carry the token."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _TOKEN_IN_URL.sub(r"\1***", record.getMessage()), ()
        return True


_REDACT = _Redact()


class TelegramClient:
    """Sends text to one chat.

    Args:
        token: bot token from @BotFather; it appears in no log, error or repr.
        chat_id: the chat to write to.
        base_url: another server that speaks the same API, for tests.
        timeout: seconds to connect, and again to be answered.
        attempts: tries in all while the message is certainly not delivered.
        sleep: waits that many seconds; tests replace it.
    """

    def __init__(
        self,
        token: str,
        chat_id: str,
        base_url: str = "https://api.telegram.org",
        *,
        timeout: float = 10.0,
        attempts: int = 4,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._token = pydantic.SecretStr(token)
        self._chat_id, self._base_url, self._timeout = chat_id, base_url.rstrip("/"), timeout
        waiting: dict[str, Any] = {"sleep": sleep} if sleep else {}
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(attempts),
            retry=tenacity.retry_if_exception_type(RetrySoonError),
            wait=_wait,
            reraise=True,
            **waiting,
        )
        logging.getLogger("httpx").addFilter(_REDACT)

    def __repr__(self) -> str:
        return f"TelegramClient(chat_id={self._chat_id!r}, base_url={self._base_url!r})"

    def send(self, text: str) -> int:
        """Send `text` (cut at 4,096 characters) and return Telegram's message id.

        Refusals that pass (429 with its `retry_after`, 5xx) and connections that were not made are tried again; a
        request that got no answer is not, because it may have been delivered.

        Raises:
            NotDeliveredError: refused or not reached after all attempts.
            NoAnswerError: the request went out and no usable answer came.
        """
        cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
        return self._retrying(self._post, cut)

    def _post(self, text: str) -> int:
        url = f"{self._base_url}/bot{self._token.get_secret_value()}/sendMessage"
        try:
            answer = httpx.post(url, json={"chat_id": self._chat_id, "text": text}, timeout=self._timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._error(RetrySoonError, self._clean(error), "a connection") from None
        except httpx.RequestError as error:  # nothing came back, or what no one can decode
            raise self._error(NoAnswerError, self._clean(error), "an answer") from None
        except httpx.InvalidURL as error:
            raise self._error(NotDeliveredError, self._clean(error), "a usable QUANT_TELEGRAM_URL") from None
        return self._message_id(answer)

    def _message_id(self, answer: httpx.Response) -> int:
        try:
            body = answer.json()
            if answer.is_success and body["ok"]:
                return int(body["result"]["message_id"])
            description, parameters = str(body.get("description", "")), dict(body.get("parameters") or {})
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            if answer.is_success:
                raise self._error(NoAnswerError, "a reply that is not Telegram's", "its JSON") from None
            description, parameters = "", {}
        raise self._refusal(answer, self._clean(f"HTTP {answer.status_code} {description}".strip()), parameters)

    def _refusal(self, answer: httpx.Response, found: str, parameters: Mapping[str, object]) -> NotDeliveredError:
        """What a reply that is no success means, and the mend that its `parameters` name."""
        moved, passing = parameters.get("migrate_to_chat_id"), answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        if moved is not None:
            found = f"{found}; the group became a supergroup, whose id is {moved}"
            return self._error(NotDeliveredError, found, "the chat's present id", f"set QUANT_TELEGRAM_CHAT={moved}")
        if not passing and not answer.is_server_error:
            return self._error(NotDeliveredError, found, "HTTP 200", "check QUANT_TELEGRAM_TOKEN and QUANT_TELEGRAM_CHAT")
        return self._later(found, _seconds(parameters.get("retry_after")))

    def _later(self, found: str, wait: float | None) -> NotDeliveredError:
        if wait is not None and wait > LONGEST_WAIT:
            error = self._error(NotDeliveredError, found, f"a wait of at most {LONGEST_WAIT:.0f} s")
        else:
            error = self._error(RetrySoonError, found, "HTTP 200")
        error.wait = wait
        return error

    def _error(self, kind: type[Refusal], found: str, wanted: str, mend: str = "nothing: it is tried again later") -> Refusal:
        return kind(f"Telegram at {self._base_url}", found=found, wanted=wanted, mend=mend)

    def _clean(self, thing: object) -> str:
        text = f"{type(thing).__name__}: {thing}" if isinstance(thing, Exception) else str(thing)
        return _TOKEN_IN_URL.sub(r"\1***", text).replace(self._token.get_secret_value(), "***")


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, RetrySoonError) else None
    return asked if asked is not None else 0.5 * 2.0 ** (state.attempt_number - 1)


def _seconds(told: object) -> float | None:
    """A `retry_after` that can be waited for, at most a day; None for what is no such number."""
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    wait = float(min(max(told, 0), LONGEST_PAUSE))
    return None if math.isnan(wait) else wait


def from_environment(environment: Mapping[str, str]) -> TelegramClient | None:
    """A client from QUANT_TELEGRAM_TOKEN, QUANT_TELEGRAM_CHAT and, for a stand-in, QUANT_TELEGRAM_URL.

    None without a token: alerts then go to the log. Raises `ConfigError` for a token without a chat.
    """
    token, chat = environment.get("QUANT_TELEGRAM_TOKEN", "").strip(), environment.get("QUANT_TELEGRAM_CHAT", "").strip()
    if not token:
        return None
    if not chat:
        raise ConfigError(
            "QUANT_TELEGRAM_CHAT",
            found="nothing",
            wanted="the id of the chat to write to",
            mend="set it beside QUANT_TELEGRAM_TOKEN",
        )
    url = environment.get("QUANT_TELEGRAM_URL", "").strip()
    return TelegramClient(token, chat, url) if url else TelegramClient(token, chat)
