//! When the collector fails, and how.

use super::collector::Mode;

/// How long a time of failing is, in seconds; a time of the same length without precedes it.
const LENGTHS: [f64; 5] = [3.0, 8.0, 20.0, 45.0, 90.0];
/// No time is longer than this part of the whole, so that a short run has one of each kind too.
const PART: f64 = 1.0 / 12.0;

/// From when on the collector behaves how, in seconds from the start: half of the time well, half of it not.
/// It begins and ends well.
#[must_use]
pub fn phases(seconds: f64) -> Vec<(f64, Mode)> {
    let longest = seconds * PART;
    let mut all = Vec::new();
    let mut at = 0.0;
    for number in 0.. {
        let length = LENGTHS[number % LENGTHS.len()].min(longest);
        if at + 2.0 * length > seconds || length <= 0.0 {
            break;
        }
        all.push((at, Mode::Well));
        // Each round another kind gets the longest.
        let kind = (number + number / LENGTHS.len()) % Mode::BAD.len();
        all.push((at + length, Mode::BAD[kind]));
        at += 2.0 * length;
    }
    all.push((at, Mode::Well));
    all
}

/// Most seconds before and after an outage.
const AROUND: f64 = 20.0;

/// One outage of so many seconds, with a time before and one after it in which the collector takes all; and how
/// long that is together.
#[must_use]
pub fn outage(seconds: f64) -> (Vec<(f64, Mode)>, f64) {
    let around = (seconds / 2.0).min(AROUND);
    let back = around + seconds;
    let all = vec![
        (0.0, Mode::Well),
        (around, Mode::Refuses),
        (back, Mode::Well),
    ];
    (all, back + around)
}

#[cfg(test)]
mod tests {
    use super::{Mode, outage, phases};

    #[test]
    fn an_outage_is_as_long_as_it_is_to_be() {
        for (seconds, around) in [(3600.0, 20.0), (20.0, 10.0)] {
            let (all, whole) = outage(seconds);
            let [(0.0, Mode::Well), (from, Mode::Refuses), (to, Mode::Well)] = all[..] else {
                panic!("{all:?}");
            };
            assert_eq!((from, to - from, whole - to), (around, seconds, around));
        }
    }

    fn failing(seconds: f64) -> (f64, Vec<Mode>) {
        let all = phases(seconds);
        let ends = all.iter().skip(1).map(|(at, _)| *at).chain([seconds]);
        let bad = all
            .iter()
            .zip(ends)
            .filter(|((_, mode), _)| *mode != Mode::Well);
        let bad: Vec<_> = bad.map(|((from, mode), to)| (*mode, to - from)).collect();
        let total = bad.iter().map(|(_, length)| length).sum();
        (total, bad.into_iter().map(|(mode, _)| mode).collect())
    }

    #[test]
    fn it_fails_half_of_the_time_in_each_way() {
        for (seconds, least) in [(120.0, 0.4), (300.0, 0.4), (1800.0, 0.45)] {
            let (total, kinds) = failing(seconds);
            assert!(
                total <= seconds / 2.0 && total > seconds * least,
                "{seconds}: {total}"
            );
            for kind in Mode::BAD {
                assert!(kinds.contains(&kind), "{seconds}: no {kind:?}");
            }
            let all = phases(seconds);
            assert_eq!((all[0].1, all[all.len() - 1].1), (Mode::Well, Mode::Well));
        }
        assert_eq!(phases(0.0), [(0.0, Mode::Well)]);
    }
}
