//! OpenAI's protocols: chat completions, responses, legacy completions, embeddings. Many others
//! speak them too, more or less exactly.

pub(super) mod answer;
mod choice;
mod chunk;
pub(super) mod embeddings;
pub(super) mod error;
mod finish;
mod item;
mod messages;
mod parts;
pub(super) mod request;
mod responses_input;
mod responses_output;
mod server_tools;
pub(super) mod stream_chat;
pub(super) mod stream_responses;
mod tools;
mod usage;
