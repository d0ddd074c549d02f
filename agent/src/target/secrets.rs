//! Whether what has a name is a secret, by that name. Pure.

/// What a name of a secret has in it, wherever its words begin. All of them are lower case.
const ANYWHERE: [&str; 7] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "cookie",
];

/// What a name of a secret has in it, too, and the words that have it in them and name none.
const IN_WORDS: [(&str, &[&str]); 2] = [
    (
        "key",
        &[
            "keyword",
            "keywords",
            "keyboard",
            "keyboards",
            "keyframe",
            "keyframes",
            "keynote",
            "keynotes",
            "keypoint",
            "keypoints",
            "keystroke",
            "keystrokes",
            "monkey",
            "monkeys",
            "donkey",
            "turkey",
            "hockey",
            "jockey",
            "whiskey",
        ],
    ),
    (
        "auth",
        &[
            "author",
            "authors",
            "authored",
            "authoring",
            "authorship",
            "coauthor",
            "coauthors",
            "authority",
            "authorities",
            "authentic",
        ],
    ),
];

/// Whether what has this name is a secret, most likely. Rather one too many: what is dropped is only missed, what
/// is told may be abused. So a harmless word counts as one only where it stands by itself (`author_name`,
/// `searchKeywords`), and whatever else has `key` or `auth` in it is a secret (`accesskey`, `AccessKeyId`,
/// `apikeyword`).
#[must_use]
pub fn names_secret(name: &str) -> bool {
    // However it is parted: `pass_word`, `passWord`.
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let plain = plain.to_ascii_lowercase();
    if ANYWHERE.iter().any(|word| plain.contains(word)) {
        return true;
    }
    IN_WORDS.iter().any(|(part, harmless)| {
        // Most names have neither.
        plain.contains(part)
            && name
                .split(|c: char| !c.is_alphanumeric())
                .any(|segment| has(segment, part, harmless))
    })
}

/// Whether a part of a name, without separators, has this in it more often than its harmless words have.
fn has(segment: &str, part: &str, harmless: &[&str]) -> bool {
    let all = segment.to_ascii_lowercase().matches(part).count();
    let mut explained = 0;
    each_word(segment, |word| {
        let word = word.to_ascii_lowercase();
        if harmless.contains(&&*word) {
            explained += word.matches(part).count();
        }
    });
    all > explained
}

/// The words of `searchKeywords`, `HTTPAuthor` and `Author2`.
fn each_word<'a>(segment: &'a str, mut each: impl FnMut(&'a str)) {
    let mut begin = 0;
    let mut all = segment.char_indices().peekable();
    let mut before: Option<char> = None;
    while let Some((at, now)) = all.next() {
        let next_is_lower = all.peek().is_some_and(|(_, next)| next.is_lowercase());
        let begins = before.is_some_and(|before| {
            let of_capitals = before.is_uppercase() && now.is_uppercase() && next_is_lower;
            let is_capital = !before.is_uppercase() && now.is_uppercase();
            of_capitals || is_capital || before.is_numeric() != now.is_numeric()
        });
        if begins {
            each(segment.get(begin..at).unwrap_or_default());
            begin = at;
        }
        before = Some(now);
    }
    each(segment.get(begin..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::names_secret;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "key",
            "keys",
            "api_key",
            "apikey",
            "apiKey",
            "APIKey",
            "APIKEY",
            "OPENAI_API_KEY",
            "--api-key",
            "X-Api-Key",
            "accesskey",
            "secretkey",
            "AccessKeyId",
            "accesskeyid",
            "aws.access.key.id",
            "key1",
            "sshkey2",
            "keyfile",
            "keyring",
            "aPiKeY",
            "apikeyword",
            "api_key_word",
            "keyWord",
            "monkey_key",
            "authorkey",
            "Keywordkey",
            "auth",
            "Auth",
            "basic_auth",
            "authorization",
            "Authorization",
            "proxy-authorization",
            "www-authenticate",
            "authenticity_token",
            "oauth2",
            "OAuthCode",
            "authors_auth",
            "AUTHor",
            "cookie",
            "Cookie",
            "cookies",
            "set-cookie",
            "Set-Cookie",
            "cookieJar",
            "session_cookie",
            "token",
            "refreshToken",
            "to_ken",
            "secret",
            "clientSecret",
            "password",
            "PassWord",
            "passwd",
            "passphrase",
            "credentials",
        ] {
            let is = names_secret(name);
            // `AUTHor` is one word of two halves, neither of which is harmless by itself.
            assert!(is, "{name}");
        }
        for name in [
            "",
            "-",
            "name",
            "author",
            "authors",
            "author_name",
            "bookAuthor",
            "BookAuthors",
            "HTTPAuthor",
            "AUTHOR",
            "co-author",
            "author2",
            ":authority",
            "keywords",
            "Keywords",
            "KEYWORDS",
            "searchKeywords",
            "search_keywords",
            "keyword",
            "keyboard",
            "keyboardLayout",
            "monkey",
            "Monkey",
            "donkey",
            "content-type",
            "ké",
            "日本",
        ] {
            assert!(!names_secret(name), "{name}");
        }
    }
}
