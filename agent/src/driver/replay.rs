//! Runs a recording through the pipeline.

use std::io::BufRead;

use crate::capture::record::{Frame, RecordError, Recording};
use crate::driver::losses;
use crate::driver::output::Output;
use crate::export::{ExportError, Exporter as _};
use crate::model::event::Event;
use crate::pipeline::{Pipeline, Settings};
use crate::redact::Redactor;

/// Why a replay ended before the recording did.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The recording cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The spans cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Replays a recording to the exporters; the spans are those of the live run.
///
/// # Errors
///
/// When the recording cannot be read, or nobody takes the spans.
pub fn run(
    input: impl BufRead,
    settings: Settings,
    forbid_content: bool,
    redactor: Redactor,
    output: &mut Output,
) -> Result<(), ReplayError> {
    let mut recording = Recording::open(input)?;
    let seed = recording.header().seed();
    let mut pipeline = Pipeline::with(seed, settings).with_redactor(redactor);
    let mut undecodable = 0;
    while let Some(frame) = recording.next_frame()? {
        match frame {
            Frame::Event(mut event) => {
                if forbid_content && let Event::Process { facts, .. } = &mut event {
                    facts.content.on_spans = false;
                    facts.content.on_events = false;
                }
                pipeline.event(&event);
            }
            Frame::Undecodable(_) => undecodable += 1,
        }
        // Nobody acts on the modes: what was not copied is not in the recording.
        pipeline.modes().for_each(drop);
        output.spans(&mut pipeline)?;
    }
    pipeline.finish();
    output.spans(&mut pipeline)?;
    let mut lost = losses::of_pipeline(&pipeline);
    lost.extend(losses::named(&[(
        "records that make no sense",
        undecodable,
    )]));
    output.redacted(&pipeline);
    output.exporters().shutdown(&lost)?;
    Ok(())
}
