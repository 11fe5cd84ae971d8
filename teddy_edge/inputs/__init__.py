"""What comes in: MQTT commands (`mqtt`), buttons (`gpio`) and the local socket (`api`).

Each input turns bytes or an edge on a pin into an envelope (`envelopes`) and hands it to the buses
through the Protocols in `ports`. It decides nothing, and answers only what the bus gave back, which
is after the events are on the card. What never became an envelope is refused by code, sentence and
field, and recorded as such; nothing that comes in can stop the daemon.
"""
