//! PostgreSQL, and all SQL: one module per group of tables.
