//! What the store promises, on a real PostgreSQL.

mod constraints;
mod history;
mod lifecycle;
mod outbox;
mod world;
