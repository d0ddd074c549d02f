//! Request targets (RFC 9112, section 3.2), freed of what may be secret.

/// Longest path or query that is kept; the rest is cut off.
pub const MAX_TARGET_BYTES: usize = 8192;

/// A request target in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Path as sent; `*` for the asterisk form, empty for the authority form.
    pub path: String,
    /// Query without `?`, values of secret parameters dropped.
    pub query: String,
    /// Host and port of the absolute and the authority form, without user information.
    pub host: Option<String>,
}

/// Takes a target apart. `connect` tells that the method is CONNECT, whose target is an
/// authority.
#[must_use]
pub fn parse(target: &str, connect: bool) -> Target {
    if connect {
        return Target {
            host: host(target),
            ..Target::default()
        };
    }
    let (authority, rest) = match target.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            (Some(authority), path)
        }
        _ => (None, target),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match (path, authority) {
        ("", Some(_)) => "/",
        _ => path,
    };
    Target {
        path: cut(path).to_owned(),
        query: without_secrets(cut(query)),
        host: authority.and_then(host),
    }
}

/// Host and port of an authority or a `Host` header, without user information.
#[must_use]
pub fn host(authority: &str) -> Option<String> {
    let host = authority.rsplit('@').next().unwrap_or_default().trim();
    (!host.is_empty()).then(|| cut(host).to_owned())
}

/// A query with the values of secret parameters made empty. Where parameters are parted by `;`
/// all up to the next `&` goes with a secret one, because the `;` may be part of the secret.
#[must_use]
pub fn without_secrets(query: &str) -> String {
    let mut clean = String::with_capacity(query.len());
    for part in query.split_inclusive('&') {
        let (parameters, separator) = match part.strip_suffix('&') {
            Some(parameters) => (parameters, "&"),
            None => (part, ""),
        };
        clean.push_str(&parameters[..public_part(parameters)]);
        clean.push_str(separator);
    }
    clean
}

/// How much of these parameters comes before the first secret value.
fn public_part(parameters: &str) -> usize {
    let mut start = 0;
    for parameter in parameters.split(';') {
        if let Some(name) = parameter.find('=').filter(|n| is_secret(&parameter[..*n])) {
            return start + name + 1;
        }
        start += parameter.len() + 1;
    }
    parameters.len()
}

/// Whether a query parameter of this name may carry a secret. Rather one too many: a value that
/// is dropped is only missed, one that is kept may be abused.
fn is_secret(name: &str) -> bool {
    const EXACT: &[&str] = &["sig", "sign", "code", "auth", "jwt", "pwd", "sid"];
    const PART: &[&str] = &[
        "token",
        "secret",
        "passw",
        "signature",
        "credential",
        "authorization",
        "accesskey",
        "apikey",
        "session",
    ];
    let plain = plain_name(name);
    EXACT.contains(&plain.as_str())
        || plain.ends_with("key")
        || PART.iter().any(|p| plain.contains(p))
}

/// A parameter's name with percent encoding undone, in lower case, letters and digits only.
fn plain_name(name: &str) -> String {
    let mut plain = String::new();
    let mut bytes = name.bytes();
    while let Some(b) = bytes.next() {
        let b = if b == b'%' {
            let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            match (hex(bytes.next()), hex(bytes.next())) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => continue,
            }
        } else {
            b
        };
        if b.is_ascii_alphanumeric() {
            plain.push(char::from(b.to_ascii_lowercase()));
        }
    }
    plain
}

fn is_scheme(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn cut(s: &str) -> &str {
    if s.len() <= MAX_TARGET_BYTES {
        return s;
    }
    let mut end = MAX_TARGET_BYTES;
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    &s[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, path: &str, query: &str, host: Option<&str>) {
        let want = Target {
            path: path.to_owned(),
            query: query.to_owned(),
            host: host.map(str::to_owned),
        };
        assert_eq!(parse(target, false), want, "{target}");
    }

    #[test]
    fn forms() {
        check("/v1/chat?a=1&b", "/v1/chat", "a=1&b", None);
        check("/a://b", "/a://b", "", None);
        check("*", "*", "", None);
        check("/p#f?x", "/p", "", None);
        check("http://h:81/p?q", "/p", "q", Some("h:81"));
        check("http://u:pw@h:81/p", "/p", "", Some("h:81"));
        check("https://[::1]:8", "/", "", Some("[::1]:8"));
        check("http://h?q=1", "/", "q=1", Some("h"));
        check("http:///p", "/p", "", None);
        let connect = parse("u:p@api.example:443", true);
        assert_eq!(connect.host.as_deref(), Some("api.example:443"));
        assert_eq!(connect.path, "");
    }

    #[test]
    fn secret_parameters_lose_their_values() {
        for name in [
            "key",
            "api_key",
            "api-key",
            "apikey",
            "ApiKey",
            "token",
            "access_token",
            "sig",
            "signature",
            "%6bey",
            "k%65y",
            "X-Amz-Security-Token",
            "X-Amz-Credential",
            "OSSAccessKeyId",
            "client_secret",
        ] {
            let query = format!("a=1&{name}=s3cr=et&b=2");
            let want = format!("a=1&{name}=&b=2");
            assert_eq!(without_secrets(&query), want);
            let query = format!("a=1;{name}=s3cret");
            assert_eq!(without_secrets(&query), format!("a=1;{name}="));
            let query = format!("{name}=s3c;ret&b=2");
            assert_eq!(without_secrets(&query), format!("{name}=&b=2"));
        }
        let kept = "api-version=2024-10-21&stream=true&starting_after=5&&x";
        assert_eq!(without_secrets(kept), kept);
        assert_eq!(without_secrets("%zz%=1&%"), "%zz%=1&%");
    }

    #[test]
    fn long_targets_are_cut() {
        let long = format!("/{}", "é".repeat(MAX_TARGET_BYTES));
        assert!(parse(&long, false).path.len() <= MAX_TARGET_BYTES);
    }
}
