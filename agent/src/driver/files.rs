//! How many files we may have open.

/// Asks for as many open files as the system gives without being asked twice: each probe is one, a
/// process has a dozen and more, and what a shell or service manager gives at first (1024) is for
/// programs that wait in `select`. Gives the limit that holds from here on.
///
/// Call it before any traced command is started, or that inherits it.
pub fn raise_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is the kernel's, and lives until the call is over.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    if limit.rlim_cur < limit.rlim_max {
        let more = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        // SAFETY: as above; the kernel only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) } == 0 {
            return more.rlim_cur;
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        let first = super::raise_limit();
        assert!(first >= 256, "{first}");
        assert_eq!(super::raise_limit(), first, "once is enough");
    }
}
