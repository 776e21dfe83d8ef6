//! Fetches the pinned NATS and PostgreSQL and runs them on loopback, for development and tests.
