"""Who may send what: checked on the bear, whatever the broker let through (P9).

`policy.py` holds the rules. They are few yet: messages are not signed, so over MQTT the bear takes
them only where settings say so (development), and nobody may pass for the bear itself.
"""

from teddy_edge.security.policy import SenderPolicy

__all__ = ["SenderPolicy"]
