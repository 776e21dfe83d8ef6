//! The customer's REST calls and the operator's Admin service; the only writer of settings.
