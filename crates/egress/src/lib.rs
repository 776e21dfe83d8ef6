//! Outbound calls to receivers that may be hostile.
