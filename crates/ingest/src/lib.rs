//! Takes events from internal callers and answers once the broker has stored them.
