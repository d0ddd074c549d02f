//! What model servers say of themselves, on pages for Prometheus: reading those, and asking for them.

#[cfg(feature = "kernel")]
mod ask;
pub mod engine;
#[cfg(feature = "kernel")]
mod http;
pub mod text;

#[cfg(feature = "kernel")]
pub use ask::{INTERVAL, Scraped, Scraper, Server};
