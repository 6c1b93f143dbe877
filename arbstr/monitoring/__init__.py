"""Monitoring: the read-only `Source` of a dashboard, and the live state behind it.

`source` is the protocol and its values, `local_source` the one of this process, `remote_source` another's; `live_state`
sums up what has finished. `event_feed` tells dashboards in other processes what happens, `questions` are what they may
ask. `request_counters` and `gauges` are what metrics tell.
"""
