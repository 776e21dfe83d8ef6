//! Projects events and outcomes into PostgreSQL.
