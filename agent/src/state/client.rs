//! Asks a running agent for its state.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::status::Status;

/// How long the agent may take; it waits two seconds for its run at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;

/// Why an agent that is there does not tell its state.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It may not be asked.
    #[error("only root may ask the running agent ({0}): run this with sudo")]
    NotPermitted(PathBuf),
    /// It does not answer.
    #[error("the agent at {path} does not answer: {source}")]
    Io {
        /// Its socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What it says is not understood.
    #[error("the agent at {path} says what is not understood ({why}): is it of another version?")]
    Answer {
        /// Its socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The state of the agent that answers at `path`; none when there is none.
///
/// # Errors
///
/// When there is one that does not tell it.
pub fn ask(path: &Path) -> Result<Option<Status>, AskError> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(AskError::NotPermitted(path.to_owned())),
                _ => Err(failed(path, error)),
            };
        }
    };
    let answer = converse(&mut stream).map_err(|error| failed(path, error))?;
    let why = match body(&answer) {
        Ok(body) => match serde_json::from_slice(body) {
            Ok(status) => return Ok(Some(status)),
            Err(error) => error.to_string(),
        },
        Err(why) => why,
    };
    Err(AskError::Answer {
        path: path.to_owned(),
        why,
    })
}

fn failed(path: &Path, source: io::Error) -> AskError {
    AskError::Io {
        path: path.to_owned(),
        source,
    }
}

fn converse(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Of version 1.0: the answer ends with the connection.
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The body of an answer that is one.
fn body(answer: &[u8]) -> Result<&[u8], String> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(answer) {
        Ok(httparse::Status::Complete(end)) if head.code == Some(200) => {
            Ok(answer.get(end..).unwrap_or_default())
        }
        Ok(httparse::Status::Complete(_)) => {
            Err(format!("status {}", head.code.unwrap_or_default()))
        }
        Ok(httparse::Status::Partial) => Err("it broke off".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
