//! Works out who is to hear of an event and writes one delivery for each.
