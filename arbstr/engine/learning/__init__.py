"""What is learned from finished requests: lengths, charges, reliability, speed.

The `learner` holds it all and saves it; `token_estimator` predicts input and output tokens from `lengths`, which are
kept by provider and joined so that none can move another's; `provider_stats` are the estimators of one offer.
"""
