"""The cloud's end of the protocol. It is not installed on the bear.

`receiver` takes the bears' events, stores them and confirms what it has stored; `broker` runs a
mosquitto for tests and for `playground`, which is what `make run` starts.
"""
