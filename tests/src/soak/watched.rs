//! What a process holds, looked at again and again.

use crate::swarm::{Held, held};
use anyhow::{Context as _, Result};
use std::time::Instant;

/// What it held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds from the first look.
    pub at: f64,
    /// Resident memory in KiB.
    pub resident: u64,
    /// Open descriptors.
    pub files: u64,
    /// Processor time since its start, in seconds.
    pub cpu: f64,
}

/// A process that is looked at.
#[derive(Debug)]
pub struct Watched {
    pid: u32,
    begun: Instant,
    samples: Vec<Sample>,
}

/// Processor time of a process since its start, in seconds.
///
/// # Errors
///
/// When it is gone.
pub fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    // `utime` and `stime`, the 14th and 15th field; the third is the first here (proc_pid_stat(5)).
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    #[expect(clippy::cast_precision_loss, reason = "a hundred, or a few more")]
    Ok(ticks / second as f64)
}

impl Watched {
    /// One that was not looked at yet.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            begun: Instant::now(),
            samples: Vec::new(),
        }
    }

    /// Looks at it.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn look(&mut self) -> Result<()> {
        let Held {
            resident, files, ..
        } = held(self.pid)?;
        let at = self.begun.elapsed().as_secs_f64();
        self.samples.push(Sample {
            at,
            resident,
            files,
            cpu: cpu(self.pid)?,
        });
        Ok(())
    }

    /// What it held last.
    #[must_use]
    pub fn last(&self) -> Sample {
        self.samples.last().copied().unwrap_or_default()
    }

    /// All looks.
    #[must_use]
    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

/// Medians of the first and of the last third of the looks: memory and descriptors.
#[must_use]
pub fn thirds(samples: &[Sample]) -> [(u64, u64); 2] {
    let third = samples.len() / 3;
    let first = samples.get(..third).unwrap_or_default();
    let last = samples.get(samples.len() - third..).unwrap_or_default();
    [first, last].map(|part| {
        let of = |what: fn(&Sample) -> u64| {
            let mut all: Vec<u64> = part.iter().map(what).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        (of(|s| s.resident), of(|s| s.files))
    })
}

#[cfg(test)]
mod tests {
    use super::{Sample, thirds};

    #[test]
    fn thirds_have_medians() {
        let sample = |resident: u64| Sample {
            resident,
            files: resident + 1,
            ..Sample::default()
        };
        let all: Vec<_> = [1, 9, 2, 5, 5, 5, 8, 7, 100]
            .into_iter()
            .map(sample)
            .collect();
        assert_eq!(thirds(&all), [(2, 3), (8, 9)]);
        assert_eq!(thirds(&[]), [(0, 0), (0, 0)]);
    }
}
