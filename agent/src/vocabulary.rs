//! The one table of attribute and metric names.
