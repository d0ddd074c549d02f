//! Bytes of a connection in order, with the gaps that were seen.
