"""The APIs that clients speak, one file each, as the rest of the engine needs to know them.

A dialect says where model, prompt, limits and usage stand in requests, answers and the events of streams, how a stream
ends and how an error looks. One pipeline, one stream observer and one meter read all of them by these descriptions.
"""
