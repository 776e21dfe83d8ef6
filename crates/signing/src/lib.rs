//! The signatures on deliveries, and the sealing of secrets.
