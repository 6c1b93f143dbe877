"""Which providers may serve a request, in which order, and why. Pure: clock and randomness are injected.

A *policy* is the rule that holds for a request. An *offer* is one provider selling one model: its rates and what was
learned about them. *Candidates* are the offers within the rule's limits, put in order by a *strategy*. A *cool-down*
is a pause of one model at one provider, or of its money; *exploration* asks a more expensive provider now and then, to
find prices that have fallen.
"""
