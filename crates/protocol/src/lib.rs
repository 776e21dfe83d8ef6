//! The messages that travel between the services, and the names of streams and subjects.
//!
//! Everything in [`v1`] is generated from `proto/`, the source of truth: binary
//! protobuf between our own services, protobuf's JSON mapping at the HTTP door
//! of ingest.
//!
//! What must always hold: a field's number and meaning never change, because
//! messages written by one version are read by the next.
//!
//! Deliberately absent: rules. What a message means is decided in `model`.

pub mod door;
mod names;

pub use names::Names;
pub use pbjson_types::Timestamp;

/// Generated from `proto/postrider/v1`.
#[expect(missing_docs, reason = "generated; the documentation is in the proto files")]
#[expect(clippy::all, clippy::allow_attributes, reason = "generated")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/postrider.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/postrider.v1.serde.rs"));
}

/// The compiled descriptors of everything in [`v1`], for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
