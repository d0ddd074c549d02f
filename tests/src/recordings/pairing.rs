//! Which span is of which exchange. The driver sends one request after the other; of each it is
//! known when the server had it whole. A span starts before that, and after the request before.

/// What clocks of kernel and server may differ by: nanoseconds, less than between two requests.
const SLACK: u64 = 500_000;

/// For each request, by the moment when it was served, the spans that are of it, by their start.
/// Both must be sorted. What starts after all is of the last.
#[must_use]
pub fn pair(served: &[u64], started: &[u64]) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new(); served.len()];
    for (span, start) in started.iter().enumerate() {
        let at = served.partition_point(|t| t.saturating_add(SLACK) < *start);
        if let Some(spans) = out.get_mut(at.min(served.len().saturating_sub(1))) {
            spans.push(span);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_of_the_request_that_follows_their_start() {
        const MS: u64 = 1_000_000;
        let served = [10 * MS, 20 * MS, 30 * MS];
        let pairs = |started: &[u64]| pair(&served, started);
        assert_eq!(
            pairs(&[9 * MS, 19 * MS, 29 * MS]),
            [vec![0], vec![1], vec![2]]
        );
        assert_eq!(pairs(&[9 * MS, 30 * MS + 1]), [vec![0], vec![], vec![1]]);
        assert_eq!(pairs(&[12 * MS, 13 * MS]), [vec![], vec![0, 1], vec![]]);
        assert_eq!(pairs(&[99 * MS]), [vec![], vec![], vec![0]]);
        assert!(pair(&[], &[1]).is_empty());
    }
}
