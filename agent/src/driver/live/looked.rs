//! What only a look into the process tells: what addresses stand for, and what is inside of objects.

use super::{Core, LiveError};
use crate::capture::{dispatch, framework, function};
use crate::driver::functions::Functions;
use crate::driver::snapshots::Snapshots;
use crate::driver::stacks::Stacks;
use crate::model::event::Event;

/// Tells what such an event stands for, instead of it; false of any other one. `is_told` says of which
/// processes call paths are.
pub(super) fn tell(
    event: &Event<'_>,
    (stacks, snapshots, functions): (&mut Stacks, &mut Snapshots, &Functions),
    core: &mut Core,
    is_told: impl Fn(u32) -> bool,
) -> Result<bool, LiveError> {
    match event {
        Event::Stack {
            connection,
            frames,
            time,
        } => {
            if is_told(connection.pid)
                && let Some(path) = stacks.resolve(connection.pid, frames)
            {
                core.event(&Event::CallPath {
                    connection: *connection,
                    path: Box::new(path),
                    time: *time,
                })?;
            }
            Ok(true)
        }
        Event::RawSnapshot(raw) => {
            if let Some(found) = snapshots.decode(raw, functions.python(raw.pid)) {
                core.event(&Event::Snapshot(Box::new(found)))?;
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The process that one was forked from in which something is watched, and which may not have been
/// looked at.
pub(super) fn root(event: &Event<'_>, record: &[u8]) -> Option<u32> {
    match event {
        Event::FunctionBegan { .. } => function::root(record).ok(),
        Event::Run(_) => framework::root(record).ok(),
        Event::Span(_) => dispatch::root(record).ok(),
        Event::RawSnapshot(raw) => Some(raw.root),
        _ => None,
    }
}
