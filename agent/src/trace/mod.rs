//! Spans from model calls.
