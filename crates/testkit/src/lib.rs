//! What the tests stand on: real servers, a scriptable receiver, processes that can be killed.
