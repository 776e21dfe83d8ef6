//! Settings and history on a real PostgreSQL.

mod bouncer;
mod constraints;
mod event_filters;
mod event_order;
mod event_plans;
mod failure_plans;
mod history;
mod journey_plans;
mod lifecycle;
mod migrations;
mod open_decisions;
mod outbox;
mod partitions;
mod resends;
mod statistics;
mod statistics_plans;
mod webhook_plans;
mod world;
