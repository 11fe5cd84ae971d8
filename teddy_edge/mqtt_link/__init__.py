"""The link to the broker: MQTT 5, acknowledged by hand. Nobody else imports aiomqtt or paho.

`MqttLink.run` connects, subscribes, runs the sessions and the handlers, and starts anew with a
jittered back-off when the connection ends. What it promises:

- A handler's normal return is the acknowledgement (PUBACK). A handler that did not return, because
  the power went or the connection ended, gets its message again on a later connection. An
  acknowledgement never reaches a later connection: packet ids are used again there.
- `publish` returns after a PUBACK that says yes; a no is `LinkRefused`, all else `LinkLost`. What
  the broker had said to be too large for it is not sent: `PacketTooLarge`.
- At most `receive_maximum` handlers of a subscription run, and as many publishes are in flight.
  While that many messages are held the socket is not read, unless an answer of the broker is
  awaited, which stands behind them. What a broker sends beyond `held_bytes_max` is left to it
  unacknowledged, and the connection is started anew, at once, when the held messages are done.
- Silence of the broker is noticed within 1.5 keepalive.
- A clean stop publishes the will too: whoever reads it need not ask why we are gone.

`subscription` is what a link is given, `link` the loop and the handlers, `connection` one
connection, `client` what aiomqtt is told.
"""

from teddy_edge.mqtt_link.client import Will
from teddy_edge.mqtt_link.link import MqttLink
from teddy_edge.mqtt_link.subscription import (
    Connection,
    Handler,
    Incoming,
    Session,
    Subscription,
)

__all__ = ["Connection", "Handler", "Incoming", "MqttLink", "Session", "Subscription", "Will"]
