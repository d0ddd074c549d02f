//! Numbers and times as people read them.

use crate::model::time::WallTime;

/// In whose time the time of day is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The machine's (`TZ`, `/etc/localtime`).
    Local,
    /// Universal time.
    Utc,
}

/// `14:03:59`; empty for a time that the system cannot express.
pub(super) fn time_of_day(at: WallTime, zone: Zone) -> String {
    // Of the C library's type, which is not named: musl's changes, and is deprecated for that.
    let Ok(seconds) = (at.0 / 1_000_000_000).try_into() else {
        return String::new();
    };
    // SAFETY: all fields of `tm` are integers or a pointer that may be null.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type, which is all the two ask for.
    let done = unsafe {
        match zone {
            Zone::Local => libc::localtime_r(&raw const seconds, &raw mut tm),
            Zone::Utc => libc::gmtime_r(&raw const seconds, &raw mut tm),
        }
    };
    if done.is_null() {
        return String::new();
    }
    format!("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec)
}

/// A duration in at most seven columns, up to a hundred hours.
pub(super) fn duration(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    let seconds = millis / 1000;
    match millis {
        0 => format!("{} µs", nanos / 1000),
        1..=999 => format!("{millis} ms"),
        1000..=59_999 => format!("{:.2} s", millis as f64 / 1000.0),
        60_000..=3_599_999 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// A count in at most six columns.
pub(super) fn count(n: u64) -> String {
    match n {
        0..=99_999 => n.to_string(),
        100_000..=999_999 => format!("{}k", n / 1000),
        1_000_000..=999_999_999 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1}G", n as f64 / 1e9),
    }
}

/// `1 call`, `2 calls`.
pub(super) fn counted(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        let at = WallTime(1_767_323_045_250_000_000);
        assert_eq!(time_of_day(at, Zone::Utc), "03:04:05");
        assert_eq!(time_of_day(at, Zone::Local).len(), 8);
        assert_eq!(time_of_day(WallTime(0), Zone::Utc), "00:00:00");
        assert_eq!(time_of_day(WallTime(u64::MAX), Zone::Utc).len(), 8);
    }

    #[test]
    fn durations() {
        for (nanos, want) in [
            (0, "0 µs"),
            (950_000, "950 µs"),
            (312_900_000, "312 ms"),
            (1_420_000_000, "1.42 s"),
            (59_999_000_000, "60.00 s"),
            (60_000_000_000, "1m00s"),
            (3_599_000_000_000, "59m59s"),
            (3_720_000_000_000, "1h02m"),
        ] {
            assert_eq!(duration(nanos), want);
        }
    }

    #[test]
    fn counts() {
        for (n, want) in [
            (0, "0"),
            (99_999, "99999"),
            (128_000, "128k"),
            (1_250_000, "1.2M"),
            (3_000_000_000, "3.0G"),
        ] {
            assert_eq!(count(n), want);
        }
        assert_eq!(counted(1, "call"), "1 call");
        assert_eq!(counted(0, "call"), "0 calls");
    }
}
