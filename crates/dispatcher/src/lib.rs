//! Sends deliveries, classifies what came back, and schedules what is to be tried again.
