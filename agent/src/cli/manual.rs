//! What helps at a keyboard: completions for shells, and manual pages, both made from the definition of
//! the command line.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::{fs, process::ExitCode};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::{Cli, CompletionsArgs, ManArgs};

/// The name that the completions and pages are for.
const NAME: &str = "genspan";

/// `genspan completions`: a script for a shell, on standard output.
pub(super) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    match io::stdout().lock().write_all(&script(args.shell)) {
        // `genspan completions bash | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    script
}

/// `genspan man`: a page for the program and one for each command, as files in a directory.
pub(super) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    pages(&args.dir)?;
    Ok(ExitCode::SUCCESS)
}

fn pages(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    // Commands have none of their own.
    let commands = program.get_subcommands().filter(|c| !c.is_hide_set());
    for command in commands.chain([&program]) {
        page(command.clone(), dir)?;
    }
    Ok(())
}

/// One page, and where it is.
fn page(command: Command, dir: &Path) -> anyhow::Result<PathBuf> {
    let page = Man::new(command)
        .source(concat!("genspan ", env!("CARGO_PKG_VERSION")))
        .manual("genspan");
    let path = dir.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::{Command as Process, Stdio};

    /// Each command that `--help` lists, with the long options that it takes.
    fn commands() -> Vec<(String, BTreeSet<String>)> {
        let mut program = Cli::command();
        program.build();
        let shown = program.get_subcommands().filter(|c| !c.is_hide_set());
        let shown = shown.filter(|c| c.get_name() != "help");
        let told = |c: &Command| {
            let options = c.get_arguments().filter(|option| !option.is_hide_set());
            let long = options.filter_map(|option| option.get_long());
            let long: BTreeSet<String> = long.map(|name| format!("--{name}")).collect();
            (c.get_name().to_owned(), long)
        };
        let commands: Vec<_> = shown.map(told).collect();
        assert!(commands.len() >= 3, "{commands:?}");
        assert!(
            commands
                .iter()
                .all(|(_, options)| options.contains("--debug"))
        );
        commands
    }

    fn text(shell: Shell) -> String {
        String::from_utf8(script(shell)).expect("text")
    }

    /// What bash offers after these words, the last of which is not finished.
    fn offered(words: &[&str]) -> BTreeSet<String> {
        let ask = format!(
            "{}\nCOMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n\
             _genspan \"$1\" \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            text(Shell::Bash)
        );
        let bash = Process::new("bash")
            .args(["--norc", "--noprofile", "-euc", &ask, "bash"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("bash, which is what this is about");
        let said = String::from_utf8_lossy(&bash.stderr);
        assert!(
            bash.status.success() && said.is_empty(),
            "{words:?}: {said}"
        );
        let answer = String::from_utf8(bash.stdout).expect("text");
        answer.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_offers_every_command_and_every_option() {
        let first = offered(&["genspan", ""]);
        for (command, options) in commands() {
            assert!(first.contains(&command), "{command} is not in {first:?}");
            let second = offered(&["genspan", &command, "--"]);
            let missing: Vec<_> = options.difference(&second).collect();
            assert!(missing.is_empty(), "{command} lacks {missing:?}");
        }
        assert_eq!(offered(&["genspan", "rep"]), ["replay".to_owned()].into());
        let formats = offered(&["genspan", "replay", "--format", ""]);
        assert_eq!(formats, ["json", "pretty"].map(str::to_owned).into());
    }

    #[test]
    fn zsh_and_fish_know_every_command_and_every_option() {
        let (zsh, fish) = (text(Shell::Zsh), text(Shell::Fish));
        assert!(zsh.starts_with("#compdef genspan"));
        for (command, options) in commands() {
            let block = zsh
                .lines()
                .skip_while(|l| l.trim() != format!("({command})"));
            let block: Vec<&str> = block.take_while(|l| l.trim() != ";;").collect();
            let in_zsh = block.join("\n");
            assert!(!in_zsh.is_empty(), "zsh lacks {command}");
            let of_it = format!("__fish_genspan_using_subcommand {command}\"");
            let in_fish: Vec<&str> = fish.lines().filter(|l| l.contains(&of_it)).collect();
            assert!(fish.contains(&format!(" -a \"{command}\"")), "{command}");
            for option in options {
                // Bare, with a value, or more than once: '--debug[', '--format=[', '*--redact=['.
                let told = ["'", "'*"].iter().any(|before| {
                    let after = |end| in_zsh.contains(&format!("{before}{option}{end}"));
                    after("[") || after("=[")
                });
                assert!(told, "zsh: {command} lacks {option}");
                let long = format!("-l {} ", option.trim_start_matches('-'));
                assert!(
                    in_fish.iter().any(|line| line.contains(&long)),
                    "fish: {command} lacks {option}"
                );
            }
        }
    }

    #[test]
    fn every_command_has_its_page_with_every_option() {
        let dir = std::env::temp_dir().join(format!("genspan-man-{}", std::process::id()));
        pages(&dir).expect("pages");
        let read = |name: &str| {
            let page = fs::read_to_string(dir.join(name));
            page.unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let program = read("genspan.1");
        assert!(program.contains("language models"));
        let mut names = BTreeSet::from(["genspan.1".to_owned()]);
        for (command, options) in commands() {
            let name = format!("genspan-{command}.1");
            let page = read(&name);
            // A hyphen that must stay one is escaped.
            assert!(
                program.contains(&format!("genspan\\-{command}(1)")),
                "{command}"
            );
            for option in options {
                let option = format!("\\fB{}\\fR", option.replace('-', "\\-"));
                assert!(page.contains(&option), "{name} lacks {option}");
            }
            let version = format!("\"genspan {}\"", env!("CARGO_PKG_VERSION"));
            assert!(page.contains(&version), "{name} does not say of what it is");
            names.insert(name);
        }
        let made = fs::read_dir(&dir).expect("readable").flatten();
        let made: BTreeSet<String> = made
            .map(|file| file.file_name().into_string().expect("text"))
            .collect();
        assert_eq!(made, names);
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let error = pages(Path::new("/dev/null/man")).unwrap_err();
        assert!(format!("{error:#}").contains("/dev/null/man"), "{error:#}");
    }
}
