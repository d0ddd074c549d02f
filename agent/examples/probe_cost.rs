//! What a TLS read or write costs the traced thread: bare, with a pair of empty probes at the
//! same places, with a pair that copies the bytes and does nothing else, and with genspan's;
//! interleaved, in one run. `cargo xtask bench probes` runs it.
//!
//! Arguments: the object with the programs to measure by, a Python, the program that reads and writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use genspan::model::process::ContentPolicy;
use genspan::probe::kernel::{Kernel, KernelOptions, Probes};
use genspan::probe::place::TlsPlacements;
use genspan::probe::sockets::SocketWay;
use genspan::target::process::{self, MappedFile};
use genspan::target::tls::{TlsFile, TlsFinder};

const ROUNDS: usize = 24;
/// Sizes of what is written and read, in bytes, and the programs that copy as much.
const SIZES: [(usize, &str); 3] = [
    (300, "copy_300"),
    (2048, "copy_2048"),
    (16_384, "copy_16384"),
];

/// The program that reads and writes when told to.
struct Target {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Target {
    fn start(python: &str, program: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(python)
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {python}"))?;
        let to = child.stdin.take().context("no pipe to the program")?;
        let from = BufReader::new(child.stdout.take().context("no pipe from the program")?);
        let mut target = Self { child, to, from };
        target.line()?;
        Ok(target)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("the program ended");
        }
        Ok(line)
    }

    /// CPU nanoseconds of the thread per read or write.
    fn measure(&mut self, size: usize) -> anyhow::Result<f64> {
        writeln!(self.to, "{size}")?;
        Ok(self.line()?.trim().parse()?)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(pid: u32) -> anyhow::Result<(MappedFile, TlsPlacements)> {
    let target = process::look(pid, &ContentPolicy::default(), true)?;
    let mut finder = TlsFinder::default();
    for file in process::mapped_code(pid)? {
        if TlsFinder::candidate(&file, &target.executable)
            && let TlsFile::Reachable(found) = finder.examine(&file.reach)
        {
            return Ok((file, found.places));
        }
    }
    bail!("no TLS library in process {pid}")
}

fn pairs(
    ebpf: &mut Ebpf,
    names: [&str; 2],
    pid: u32,
    path: &Path,
    places: &TlsPlacements,
) -> anyhow::Result<Vec<UProbeLink>> {
    let pid = std::num::NonZeroU32::new(pid).context("pid")?;
    let mut links = Vec::new();
    for place in places.reads.iter().chain(&places.writes) {
        for name in names {
            let program: &mut UProbe = ebpf.program_mut(name).context("program")?.try_into()?;
            let at = UProbeAttachLocation::AbsoluteOffset(place.offset);
            let id = program.attach(at, path, UProbeScope::OneProcess(pid))?;
            links.push(program.take_link(id)?);
        }
    }
    Ok(links)
}

/// Median of what was added to the bare program in the same round.
fn added(with: &[f64], bare: &[f64]) -> f64 {
    let mut added: Vec<f64> = with.iter().zip(bare).map(|(w, b)| w - b).collect();
    median(&mut added)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [object, python, program] = args.as_slice() else {
        bail!("usage: probe_cost OBJECT PYTHON PROGRAM");
    };
    let mut others = Ebpf::load_file(object)?;
    let copies = SIZES.map(|(_, name)| name);
    for name in ["empty_enter", "empty_return", "copy_enter"]
        .into_iter()
        .chain(copies)
    {
        let p: &mut UProbe = others.program_mut(name).context("program")?.try_into()?;
        p.load()?;
    }
    let mut kernel = Kernel::load(&KernelOptions {
        sockets: SocketWay::Off,
        frameworks: false,
        functions: false,
        stacks: false,
        ring_bytes: 8 << 20,
        message_bytes: 4 << 20,
        debug: false,
        python: std::env::var_os("GENSPAN_NO_PYTHON").is_none(),
        perf_probes: std::env::var_os("GENSPAN_PERF_PROBES").is_some(),
    })?;
    let mut target = Target::start(python, program)?;
    let pid = target.child.id();
    let (file, places) = find(pid)?;
    println!(
        "| bytes | bare | empty pair adds | copying pair adds | genspan adds | copying pair | genspan |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (size, copy) in SIZES {
        let (mut bare, mut empty, mut copying, mut genspan) = (vec![], vec![], vec![], vec![]);
        target.measure(size)?;
        for round in 0..ROUNDS {
            // Each begins as often as the others: what one leaves behind (a program is taken out when
            // nobody can be in it) is not always the next one's to bear.
            for turn in 0..4 {
                match (round + turn) % 4 {
                    0 => bare.push(target.measure(size)?),
                    pair @ (1 | 2) => {
                        let (names, figures) = match pair {
                            1 => (["empty_return", "empty_enter"], &mut empty),
                            _ => ([copy, "copy_enter"], &mut copying),
                        };
                        let links = pairs(&mut others, names, pid, &file.reach, &places)?;
                        figures.push(target.measure(size)?);
                        drop(links);
                    }
                    _ => {
                        let probes: Probes = kernel.attach_tls(pid, &file.reach, &places, false)?;
                        genspan.push(draining(&mut kernel, &mut target, size)?);
                        probes.remove();
                    }
                }
            }
        }
        let [e, c, g] = [&empty, &copying, &genspan].map(|figures| added(figures, &bare));
        println!(
            "| {size} | {:.0} ns | {e:.0} ns | {c:.0} ns | {g:.0} ns | x{:.2} | x{:.2} |",
            median(&mut bare),
            c / e,
            g / e
        );
    }
    let lost: u64 = kernel.losses().iter().take(2).sum();
    println!("\nrecords lost: {lost}");
    Ok(())
}

/// Measures while the ring is emptied on another thread as the agent does it.
fn draining(kernel: &mut Kernel, target: &mut Target, size: usize) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let stop = Arc::clone(&done);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                while let Some(record) = kernel.data().next() {
                    std::hint::black_box(&record[..]);
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let result = target.measure(size);
        done.store(true, Ordering::Relaxed);
        result
    })
}
