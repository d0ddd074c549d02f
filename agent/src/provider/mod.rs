//! Model calls from HTTP exchanges.
