"""What a dashboard may see: the read-only `Source`, and the live state behind it.

`source` is the protocol and its values, `local_source` the one of this process, `live_state` what events add up to.
"""
