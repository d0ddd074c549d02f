//! Asks a running agent for its state.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::status::Status;
use crate::answer::{Answer, BadAnswer};

/// How long the agent may take; it waits two seconds for its run at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

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
    let why = match answer {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(status) => return Ok(Some(status)),
            Err(error) => error.to_string(),
        },
        Err(bad) => bad.to_string(),
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

/// The body of the answer, where it is one.
fn converse(stream: &mut UnixStream) -> io::Result<Result<Vec<u8>, BadAnswer>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Of version 1.0: the answer ends with the connection.
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = Answer::new(MAX_ANSWER);
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        match answer.push(piece.get(..count).unwrap_or_default()) {
            Ok(false) if count > 0 => {}
            Ok(_) => return Ok(answer.body()),
            Err(bad) => return Ok(Err(bad)),
        }
    }
}
