//! Rules on Rust code: names from one table, nothing unfinished, nothing ignored, nothing unsafe
//! without a reason.

use super::Finding;
use super::lexer::{Source, line_at};

/// The one file that spells the names of attributes and metrics.
const VOCABULARY: &str = "agent/src/vocabulary.rs";

/// The beginning of those names. Put together here, so that this file does not spell it.
const NAME: &str = concat!("gen", "_ai.");

/// Macros for what is not done yet, and for looking at values.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// How far above an `unsafe` its reason may stand: attributes and a broken line come between.
const REASON_WITHIN: usize = 8;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = vocabulary(source);
    for name in UNFINISHED {
        findings.extend(
            Source::lines_with(&source.code, name)
                .map(|line| Finding::error(line, format!("`{name}` is left in the code"))),
        );
    }
    findings.extend(Source::lines_with(&source.code, "#[ignore").map(|line| {
        Finding::error(
            line,
            "an ignored test: let it run, or say at run time why it cannot",
        )
    }));
    findings.extend(unsafe_without_reason(source));
    findings
}

fn vocabulary(source: &Source) -> Vec<Finding> {
    if source.path == VOCABULARY {
        return Vec::new();
    }
    Source::lines_with(&source.uncommented, NAME)
        .filter(|line| !source.is_test(*line))
        .map(|line| {
            Finding::error(
                line,
                format!("an attribute's name is spelled: take it from {VOCABULARY}"),
            )
        })
        .collect()
}

fn unsafe_without_reason(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (position, _) in source.code.match_indices("unsafe") {
        let after = source
            .code
            .get(position + "unsafe".len()..)
            .unwrap_or_default();
        let before = source.code.get(..position).unwrap_or_default();
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        if before.ends_with(in_word) || after.starts_with(in_word) || !needs_reason(after) {
            continue;
        }
        let line = line_at(&source.code, position);
        let from = line.saturating_sub(REASON_WITHIN + 1);
        let near = lines.get(from..line.min(lines.len())).unwrap_or_default();
        if !near
            .iter()
            .any(|text| text.contains("SAFETY:") || text.contains("# Safety"))
        {
            findings.push(Finding::error(line, "`unsafe` without a `SAFETY:` comment"));
        }
    }
    findings
}

/// Blocks, implementations, foreign blocks and functions; not attributes and types of functions.
fn needs_reason(after: &str) -> bool {
    let mut words = after.split_whitespace();
    match words.next() {
        Some(word) if word.starts_with('{') => true,
        Some("impl" | "trait") => true,
        Some("extern") => {
            let rest = after.trim_start().trim_start_matches("extern").trim_start();
            // The name of the ABI is blanked with all strings; its quotes are not.
            rest.trim_start_matches(['"', ' ']).starts_with('{')
        }
        // A name follows in a declaration, a parenthesis in a type.
        Some("fn") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn names_are_spelled_in_one_place() {
        let text = format!("const A: &str = \"{NAME}system\";");
        assert_eq!(count("agent/src/trace/span.rs", &text), 1);
        assert_eq!(count(VOCABULARY, &text), 0);
        assert_eq!(count("agent/tests/replay.rs", &text), 0);
        assert_eq!(
            count(
                "agent/src/a.rs",
                &format!("/// `{NAME}system`\nfn a() {{}}")
            ),
            0
        );
        assert_eq!(
            count(
                "agent/src/a.rs",
                &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}")
            ),
            0
        );
    }

    #[test]
    fn nothing_unfinished_and_nothing_ignored() {
        assert_eq!(count("a/src/a.rs", "fn a() { todo!() }"), 1);
        assert_eq!(
            count("a/src/a.rs", "fn a() { dbg!(1); unimplemented!() }"),
            2
        );
        assert_eq!(
            count("a/src/a.rs", "// todo!() is refused\nlet a = \"dbg!\";"),
            0
        );
        assert_eq!(
            count("a/tests/a.rs", "#[ignore = \"slow\"]\n#[test]\nfn a() {}"),
            1
        );
    }

    #[test]
    fn unsafe_has_a_reason() {
        assert_eq!(count("a/src/a.rs", "let a = unsafe { b() };"), 1);
        assert_eq!(
            count(
                "a/src/a.rs",
                "// SAFETY: b is sound.\nlet a =\n    unsafe { b() };"
            ),
            0
        );
        assert_eq!(count("a/src/a.rs", "unsafe impl Send for A {}"), 1);
        assert_eq!(
            count(
                "a/src/a.rs",
                "/// # Safety\n/// Never.\npub unsafe fn a() {}"
            ),
            0
        );
        assert_eq!(count("a/src/a.rs", "pub unsafe fn a() {}"), 1);
        assert_eq!(
            count("a/src/a.rs", "#[unsafe(no_mangle)]\nlet f: unsafe fn(u8);"),
            0
        );
        assert_eq!(count("a/src/a.rs", "let f: unsafe extern \"C\" fn(u8);"), 0);
        assert_eq!(count("a/src/a.rs", "unsafe extern \"C\" { fn f(); }"), 1);
        assert_eq!(
            count("a/src/a.rs", "#![deny(unsafe_op_in_unsafe_fn)] // unsafe {"),
            0
        );
        let far = format!(
            "// SAFETY: x\n{}unsafe {{ a() }}",
            "b();\n".repeat(REASON_WITHIN + 1)
        );
        assert_eq!(count("a/src/a.rs", &far), 1);
    }
}
