"""The MQTT sink."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from iadr1.errors import MissingExtraError, UsageError
from iadr1.stages.watch.sinks import Message, PassingError, read_address

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LONGEST_TOPIC = 65535


class Mqtt:
    """Publishes JSON to a topic with QoS 1 (MQTT 3.1.1): a message has arrived when the broker confirms it.

    After a fault the connection is made anew, so that nothing is left in a client's own queue.

    Args:
        address: `mqtt://HOST[:PORT]/TOPIC`, or `mqtts://` for TLS; the topic may have several levels.
        user: Name to log in with; empty for none.
        password: Its password.

    Raises:
        UsageError: Not such an address.
        MissingExtraError: paho-mqtt is not installed.
    """

    kind = "mqtt"

    def __init__(self, address: str, *, user: str = "", password: str = "") -> None:
        parts = read_address("--mqtt", address, tuple(_PORTS))
        topic = unquote(parts.path.removeprefix("/"))
        if not topic or "?" in address or not {"+", "#", "\0"}.isdisjoint(unquote(address)):
            raise UsageError(
                "--mqtt needs a topic to publish to, without + and #", hint="for example mqtt://broker/line3/inspection"
            )
        if len(topic.encode()) > _LONGEST_TOPIC:
            raise UsageError("the topic of --mqtt is too long")
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("paho-mqtt", "watch", purpose="--mqtt") from error
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._tls, self._topic, self._login = parts.scheme == "mqtts", topic, (user, password)
        self.shown = f"{parts.scheme}://{self._host}:{self._port}/{topic}"
        self._client: Client | None = None

    def send(self, message: Message, *, timeout_s: float) -> None:
        """Publish it and wait for the broker's confirmation.

        Raises:
            PassingError: No connection, the broker refused the login, or no confirmation came in time.
        """
        try:
            if self._client is not None and not self._client.is_connected():
                self.close()
            client = self._client = self._client or self._connect(timeout_s)
            sent = client.publish(self._topic, message.body, qos=1)
            sent.wait_for_publish(timeout_s)
            arrived = sent.is_published()
        except (OSError, ValueError, RuntimeError) as error:
            self.close()
            raise PassingError(str(error) or type(error).__name__) from error
        if not arrived:
            self.close()
            raise PassingError(f"the broker did not confirm within {timeout_s:.3g} s")

    def _connect(self, timeout_s: float) -> Client:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        answered, refused = threading.Event(), []

        def on_connect(client: Client, data: Any, flags: Any, code: Any, properties: Any) -> None:
            if code.is_failure:
                refused.append(f"the broker refused the connection: {code}")
            answered.set()

        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311, reconnect_on_failure=False)
        client.on_connect = on_connect
        client.connect_timeout = timeout_s
        if self._tls:
            client.tls_set()
        if self._login[0]:
            client.username_pw_set(*self._login)
        client.connect(self._host, self._port)
        client.loop_start()
        if not answered.wait(timeout_s) or refused:
            client.disconnect()
            client.loop_stop()
            raise PassingError(refused[0] if refused else f"the broker did not answer within {timeout_s:.3g} s")
        return client

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
