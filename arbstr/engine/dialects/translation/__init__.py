"""Translation of OpenAI's Responses and Anthropic's Messages to chat completions and back. Pure: no I/O, no clock.

`responses` and `messages` each have:

`to_chat(document)`: the chat request for a client's document; raises `InvalidRequest`, in most cases
    `UnsupportedParameter` with the path of what chat completions can't express.
`from_chat(answer, request, *, answer_id, now_s)`: the client's answer for a whole chat answer.
`StreamTranslator(request, *, answer_id, now_s)`: chat chunks in by `feed`, the client's events out as bytes; `end`
    returns the last events, `fail` those of a stream that broke off.

`request` is the client's own document. `answer_id` is the new answer's id (`resp_…`, `msg_…`), `now_s` the time in
seconds since the epoch. Words: an *item* is an element of a Responses input or output, a *block* one of a Messages
content, a *part* one of a chat content.
"""
