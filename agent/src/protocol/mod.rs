//! HTTP exchanges from byte streams.
