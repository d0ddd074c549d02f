//! Files stay small enough to be read at once.

use super::Finding;
use super::lexer::Source;

/// Lines without tests above which a file is too long.
const MOST: usize = 800;

/// Lines without tests above which a file should be looked at.
const MANY: usize = 400;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    judge(source.product_lines())
}

pub(super) fn python(text: &str) -> Vec<Finding> {
    judge(text.lines().count())
}

fn judge(lines: usize) -> Vec<Finding> {
    if lines > MOST {
        vec![Finding::error(
            0,
            format!("{lines} lines without tests; {MOST} are the most"),
        )]
    } else if lines > MANY {
        vec![Finding::warning(
            0,
            format!("{lines} lines without tests; one subject each?"),
        )]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn long_files_are_told_and_tests_do_not_count() {
        let severity = |text: &str| {
            check(&Source::new("agent/src/a.rs", text))
                .first()
                .map(|finding| finding.severity)
        };
        assert_eq!(severity(&"x\n".repeat(MANY)), None);
        assert_eq!(severity(&"x\n".repeat(MANY + 1)), Some(Severity::Warning));
        assert_eq!(severity(&"x\n".repeat(MOST + 1)), Some(Severity::Error));
        let tests = format!("x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(MOST));
        assert_eq!(severity(&tests), None);
        assert_eq!(python(&"x\n".repeat(MOST + 1)).len(), 1);
    }
}
