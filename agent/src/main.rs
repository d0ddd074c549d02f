//! genspan binary.
fn main() {}
