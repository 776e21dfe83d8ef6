//! NATS JetStream, and nothing else that talks to it: streams, consumers, publishing, schedules, settings documents.
