//! Both doors on a real broker.

mod doors;
mod grpc;
mod http;
mod outages;
mod platform;
mod quota;
