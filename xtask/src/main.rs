//! The only entry to every chore: up, test, lint, tidy, bench.
fn main() {}
