//! Settings through their public doors, on a real PostgreSQL and a real broker.

mod admin;
mod alerts;
mod auth;
mod encodings;
mod exhausted;
mod outages;
mod races;
mod relay;
mod webhooks;
mod world;
