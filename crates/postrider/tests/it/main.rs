//! Whole-system tests: real processes, real servers, a real receiver, and the
//! public doors only.

mod broker_users;
mod browser;
mod clients;
mod cluster;
mod console;
mod crash;
mod dashboard;
mod database_users;
mod doors;
mod email;
mod erasure;
mod events;
mod follow;
mod journeys;
mod lag;
mod lifecycle;
mod lost_streams;
mod openapi;
mod operators;
mod options;
mod outages;
mod regions;
mod resend;
mod retries;
mod rig;
mod routing;
mod schedules;
mod settings;
mod signing_keys;
mod skew;
mod status;
mod system;
mod traces;
mod traps;
