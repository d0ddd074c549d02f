//! Rule by rule: what is found, and what is not.

use super::builtin::BuiltIn;
use super::{Redactor, Rules, Selection};
use serde_json::json;
use std::borrow::Cow;

fn only(rule: BuiltIn) -> Redactor {
    let rules = Rules {
        rules: vec![Selection::One(rule)],
        ..Rules::none()
    };
    Redactor::new(&rules).unwrap()
}

pub(super) fn all() -> Redactor {
    let rules = Rules {
        rules: vec![Selection::All],
        ..Rules::none()
    };
    Redactor::new(&rules).unwrap()
}

/// Without the tildes: no text here is to look like a key to those who search sources for keys.
pub(super) fn plain(text: &str) -> String {
    text.replace('~', "")
}

/// Each text with what a rule finds in brackets of its own.
fn check(rule: BuiltIn, texts: &[&str]) {
    let redactor = only(rule);
    let marker = format!("[redacted:{}]", rule.name());
    for marked in texts {
        let marked = plain(marked);
        let (mut text, mut want, mut rest) = (String::new(), String::new(), marked.as_str());
        while let Some((before, after)) = rest.split_once('«') {
            let (secret, after) = after.split_once('»').unwrap();
            text.extend([before, secret]);
            want.extend([before, &marker]);
            rest = after;
        }
        text.push_str(rest);
        want.push_str(rest);
        assert_eq!(redactor.text(&text), want, "{text}");
        assert_eq!(redactor.text(&want), want, "again: {want}");
        let all = all();
        if text != want {
            let now = all.text(&text).into_owned();
            assert!(now.contains("[redacted:"), "{now}");
            assert_eq!(all.text(&now), now);
        }
    }
}

#[test]
fn keys_of_model_providers() {
    let openai = [
        "«s~k-proj-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-abcdef»",
        "key: «s~k-1234567890abcdefghijT3BlbkFJabcdefghij1234567890».",
        "x\\n«s~k-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef»",
        "密钥«s~k-svcacct-aaaaaaaaaaaaaaaaaaaaaaaa1»吗",
        "a?k=%20«s~k-proj-aaaaaaaaaaaaaaaaaaaaaaa1»&b",
        "s~k-test",
        "s~k-...",
        "a ris~k-management-in-organizations-2024 b",
        "s~k-learn-documentation-pages-for-users",
        "dis~k-1234567890123456789012345",
        "s~k-xxxxxxxxxxxxxxxxxxxxxxxx",
    ];
    check(BuiltIn::OpenAi, &openai);
    check(
        BuiltIn::Anthropic,
        &[
            "«s~k-ant-api03-AbCd_0123456789-abcdefghij»",
            "s~k-ant-",
            "s~k-proj-AbCdEfGhIjKlMnOpQr0123456789",
        ],
    );
    check(
        BuiltIn::DashScope,
        &[
            "«s~k-0123456789abcdef0123456789abcdef»",
            "(«s~k-0123456789abcdef0123456789abcdef», ok)",
            "s~k-0123456789abcdef0123456789abcdef0",
            "s~k-0123456789abcdef0123456789abcdeg",
            "s~k-0123456789abcdef",
        ],
    );
}

#[test]
fn the_nearest_rule_names_it() {
    for (text, rule) in [
        ("s~k-ant-api03-AbCd_0123456789-abcdefghij", "anthropic_key"),
        ("s~k-0123456789abcdef0123456789abcdef", "dashscope_key"),
        ("s~k-0123456789abcdef0123456789abcdefXY", "openai_key"),
        (
            "Bearer s~k-proj-AbCdEfGhIjKlMnOpQr0123456789",
            "bearer_token",
        ),
    ] {
        assert!(
            Redactor::default()
                .text(&plain(text))
                .ends_with(&format!("[redacted:{rule}]"))
        );
    }
}

#[test]
fn keys_of_clouds() {
    check(
        BuiltIn::Aws,
        &[
            "id «A~KIAIOSFODNN7EXAMPLE»,",
            "«A~SIAIOSFODNN7EXAMPLE»",
            "aws_secret_access_key = «w~JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
            "{\"SecretAccessKey\": \"«w~JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»\"}",
            "{\\\"secretAccessKey\\\":\\\"«w~JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»\\\"}",
            "A~KIAIOSFODNN7EXAMPLEX",
            "A~KIA1234",
            "XA~KIAIOSFODNN7EXAMPLE",
            "the secret_access_key is kept elsewhere",
        ],
    );
    check(
        BuiltIn::Alibaba,
        &[
            "«L~TAI5tAbCdEfGhIjKlMnOpQr»",
            "AccessKeySecret: «0123456789abcdefghijABCDEFGHIJ»",
            "L~TAI",
        ],
    );
    check(
        BuiltIn::Azure,
        &[
            "DefaultEndpointsProtocol=https;AccountKey=«a~bcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ==»;x",
            "AccountKey=7",
        ],
    );
    check(
        BuiltIn::UrlSignature,
        &[
            "?sv=2020&sig=«a~bcdefghijklmnopqrstuvwxyz0123456789%2BABCDEFG%3D»&se=1",
            "x.mp4?Expires=1&OSSAccessKeyId=a&Signature=«SAC%2Babcdefghijklmnopq%3D»\\n",
            "&X-Amz-Signature=«0123456789abcdef0123456789abcdef»",
            "signature=abcdefghijklmnopqrstuvwxyz0123456789",
            "{\"signature\": \"abcdefghijklmnopqrstuvwxyz0123456789\"}",
            "?sig=7",
        ],
    );
    check(
        BuiltIn::Google,
        &[
            "«A~IzaSyA0123456789abcdefghijklmnopqrstuv»",
            "«y~a29.a0AfH6SMBabcdefghij0123456789»",
            "A~IzaSy",
        ],
    );
}

#[test]
fn tokens_of_services() {
    check(
        BuiltIn::GitHub,
        &[
            "«g~hp_0123456789abcdefghijABCDEFGHIJ012345»",
            "«g~ithub_pat_11ABCDEFG0123456789abc_def»",
            "«g~lpat-0123456789abcdefghij»",
            "g~hp_",
            "g~hp_short1",
        ],
    );
    check(
        BuiltIn::Slack,
        &[
            "«x~oxb-123456789012-abcdefABCDEF»",
            "https://«h~ooks.slack.com/services/T00000000/B00000000/abcdefghijklmnop»",
            "x~oxb-",
        ],
    );
    check(
        BuiltIn::Stripe,
        &["«s~k_live_0123456789abcdefABCDEF»", "s~k_live_x"],
    );
    check(
        BuiltIn::HuggingFace,
        &[
            "«h~f_0123456789abcdefghijABCDEFGHIJ0123»",
            "h~f_hub_download",
        ],
    );
    check(
        BuiltIn::Service,
        &[
            "«g~sk_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghij»",
            "«a~pp-0123456789abcdefghijABCD»",
            "app-store-connect",
            "a~pp-0123456789abcdefghijABCDE",
            "«n~pm_0123456789abcdefghijABCDEFGHIJ012345»",
        ],
    );
}

#[test]
fn tokens_and_passwords() {
    check(
        BuiltIn::Jwt,
        &[
            "«e~yJhbGciOiJIUzI1NiJ9.e~yJzdWIiOiIxMjM0In0.abc-DEF_123».",
            "s.«e~yJhbGciOiJIUzI1NiJ9.e~yJzdWIiOiIxMjM0In0.abc-DEF_123»",
            "«e~yJhbGciOiJSU0EtT0FFUCJ9.abcdefgh.ijklmnop.qrstuvwx.yz012345»",
            "e~yJhbGciOiJIUzI1NiJ9",
            "e~yJhbGciOiJIUzI1NiJ9.foo.bar",
            "e~yJ.e~yJ.x",
        ],
    );
    check(
        BuiltIn::Bearer,
        &[
            "Authorization: Bearer «abcdef0123456789.xyz»\\r\\n",
            "-H 'authorization: bearer «0123456789abcdef=»'",
            "Authorization: Basic «dXNlcjpwYXNz»",
            "Bearer authentication-is-needed here",
            "the bearer of 12345678901234567890",
            "Basic arithmetic",
        ],
    );
    check(
        BuiltIn::UrlPassword,
        &[
            "postgres://shop:«s3cr3t»@db:5432/x",
            "redis://:«p@ss»@cache/0",
            "https://host:8080/a@b",
            "https://user@host/",
            "see http://a.example: it",
        ],
    );
}

#[test]
fn private_keys_go_whole() {
    let body = "bm8ga2V5IGF0IGFsbCwgb25seSBhIHRleHQgZm9yIHRoZSB0ZXN0cyBvZiBnZW5zcGFu";
    let key = |label: &str, nl: &str| {
        let text = format!(
            "--~---BEGIN {label}PRIVATE KEY-----{nl}Proc-Type: 4,ENCRYPTED{nl}{nl}{body}{nl}{body}{nl}--~---END {label}PRIVATE KEY-----"
        );
        plain(&text)
    };
    let redactor = only(BuiltIn::PrivateKey);
    for label in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
        for nl in ["\n", "\\n", "\r\n"] {
            let text = format!("a {} b {}", key(label, nl), key("", nl));
            assert_eq!(
                redactor.text(&text),
                "a [redacted:private_key] b [redacted:private_key]"
            );
        }
    }
    let pgp = format!(
        "--~---BEGIN PGP PRIVATE KEY BLOCK-----\n\n{body}\n--~---END PGP PRIVATE KEY BLOCK-----\n"
    );
    assert_eq!(redactor.text(&plain(&pgp)), "[redacted:private_key]\n");
    // Not over a text's end, when the text is JSON that holds others.
    let inside = format!(r#"{{"a":"--~---BEGIN PRIVATE KEY-----\n{body}","b":"--~---END "}}"#);
    let want = r#"{"a":"[redacted:private_key]","b":"-----END "}"#;
    assert_eq!(redactor.text(&plain(&inside)), want);
    let open = format!("--~---BEGIN PRIVATE KEY-----\n{body}\n");
    assert_eq!(redactor.text(&plain(&open)), "[redacted:private_key]");
    for text in [
        "a file that begins with --~---BEGIN PRIVATE KEY----- is a key",
        "--~---BEGIN CERTIFICATE-----\nMIIE\n--~---END CERTIFICATE-----",
        "--~---BEGIN PUBLIC KEY-----",
    ] {
        let text = plain(text);
        assert_eq!(redactor.text(&text), text);
    }
}

#[test]
fn addresses() {
    check(
        BuiltIn::Email,
        &[
            "write to «alice.b+x@mail.example.com», or «bob@example.org».",
            "<«a@b.co»>",
            "\"«o'brien@example.ie»\"",
            "line\\n«carol@example.com»\\nnext",
            "邮箱«wang@example.cn»。",
            "mailto:«x_y@sub.example.travel»?subject=1",
            "git@github.com:org/repo.git",
            "react@18.2.0",
            "@app.route",
            "a @ b.com",
            "user@localhost",
            "1@2.3",
        ],
    );
}

#[test]
fn cards_by_issuer_length_and_check_digit() {
    check(
        BuiltIn::CreditCard,
        &[
            "«4111111111111111»",
            "card «4111 1111 1111 1111», 12/29",
            "«5500-0000-0000-0004»",
            "«378282246310005»",
            "«3782 822463 10005»",
            "«6011111111111117»",
            "«3530111333300000»",
            "«30569309025904»",
            "«2223003122003222»",
            "«6200000000000005»",
            // A wrong check digit, an unknown issuer, a wrong length.
            "4111111111111112",
            "1111111111111117",
            "41111111111111",
            "0000000000000000",
            // Parts of ids, decimals, times.
            "4111111111111111a",
            "x4111111111111111",
            "id-4111111111111111",
            "4111111111111111-2",
            "0.4111111111111111",
            "4111111111111111.5",
            "1731368639123",
            "1731368639123456789",
            "4111 1111 11111111",
            "/4111111111111111",
        ],
    );
}

#[test]
fn telephone_numbers() {
    check(
        BuiltIn::Phone,
        &[
            "call «+1 415-555-0132» or «+49 30 901820»",
            "«+8613812345678»",
            "«+44 (0)20 7946 0958»",
            "tel:«+14155550132»",
            "(«415-555-0132»)",
            "«(415) 555-0132»",
            "«1-415-555-0132»",
            "手机«13812345678»。",
            "«138-1234-5678» «138 1234 5678»",
            "«010-12345678» «0571-88888888»",
            // Times.
            "1731368639",
            "1731368639.123",
            "1731368639123",
            "2026-11-27T13:08:09+08:00",
            "2026-11-27 13:08:09",
            "12:34:56.789012345",
            // Decimals and sums.
            "3.13812345678",
            "13812345678.5",
            "1e+13812345678",
            "x+1234567890123",
            "99.999.9999",
            // Ids.
            "order-13812345678",
            "13812345678-ab",
            "/v1/13812345678",
            "#13812345678",
            "a13812345678",
            "550e8400-e29b-41d4-a716-446655440000",
            "192.168.100.2000",
            "123-45-6789",
            "15412345678",
            "call_13812345678",
            "chatcmpl-13812345678",
            "f(415) 555-0132",
        ],
    );
}

#[test]
fn json_stays_what_it_is() {
    let redactor = all();
    let mut value = json!({
        "key": plain("s~k-proj-AbCdEfGhIjKlMnOpQr0123456789"),
        "a@example.com": [1, "b@example.com", null, true],
        "c@example.com": {"card": 4_111_111_111_111_111_u64, "phone": 13_812_345_678_u64},
        "inner": "{\"token\":\"Bearer abcdef0123456789\",\"n\":1}",
    });
    redactor.json(&mut value, false);
    assert_eq!(
        value,
        json!({
            "key": "[redacted:openai_key]",
            "[redacted:email]": [1, "[redacted:email]", null, true],
            "[redacted:email] 2": {"card": "[redacted:credit_card]", "phone": 13_812_345_678_u64},
            "inner": "{\"token\":\"Bearer [redacted:bearer_token]\",\"n\":1}",
        })
    );
    let before = value.clone();
    redactor.json(&mut value, false);
    assert_eq!(value, before);
}

#[test]
fn an_operators_expressions() {
    let rules = Rules {
        rules: vec![Selection::One(BuiltIn::Email)],
        patterns: vec![
            r"employee=E-\d{6}".parse().unwrap(),
            r"pin=(?i)pin:\s*(?P<secret>\d{4})".parse().unwrap(),
            r"line=name: .*".parse().unwrap(),
        ],
        ..Rules::none()
    };
    let redactor = Redactor::new(&rules).unwrap();
    for (text, want) in [
        (
            "E-123456, PIN: 1234",
            "[redacted:employee], PIN: [redacted:pin]",
        ),
        (
            "name: Bob, a@example.com",
            "[redacted:line][redacted:email]",
        ),
        ("nothing", "nothing"),
    ] {
        assert_eq!(redactor.text(text), want);
        assert_eq!(redactor.text(want), want);
    }
    let counts: Vec<_> = redactor
        .counts()
        .into_iter()
        .map(|c| (c.rule, c.count))
        .collect();
    let want = [("email", 1), ("employee", 1), ("pin", 1), ("line", 1)];
    assert_eq!(counts, want.map(|(n, c)| (n.to_owned(), c)));
    // A marker that is none of ours protects nothing.
    assert_eq!(
        redactor.text("[redacted:a@example.com]"),
        "[redacted:[redacted:email]]"
    );
}

#[test]
fn rules_that_cannot_be() {
    use super::Pattern;
    for (text, word) in [
        ("E-[0-9", "names no rule"),
        ("x=E-[0-9", "no regular expression"),
        ("x=a*", "empty text"),
        ("X=a", "no name for a rule"),
        ("=a", "no name for a rule"),
        ("x=(?:a{1000}){1000}", "no regular expression"),
    ] {
        let error = text.parse::<Pattern>().unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    let error = "mail".parse::<Selection>().unwrap_err().to_string();
    assert!(error.contains("there is no rule `mail`") && error.contains("email, phone"));
    let rules = |patterns: &[&str]| Rules {
        patterns: patterns.iter().map(|p| p.parse().unwrap()).collect(),
        ..Rules::default()
    };
    for patterns in [&["email=x"][..], &["a=x", "a=y"], &["keys=x"]] {
        let error = Redactor::new(&rules(patterns)).unwrap_err().to_string();
        assert!(error.contains("two rules have the name"), "{error}");
    }
}

#[test]
fn of_a_cut_text_a_beginning_is_enough() {
    let redactor = all();
    for (text, want) in [
        ("key s~k-pro", "key [redacted:openai_key]"),
        ("Bearer ab", "Bearer [redacted:bearer_token]"),
        ("e~yJhbGciOiJIUzI1NiJ9.ey", "[redacted:jwt]"),
        (
            "--~---BEGIN PRIVATE KEY-----\nMII",
            "[redacted:private_key]",
        ),
        ("redis://:pass", "redis://:[redacted:url_password]"),
        ("http://host:80", "http://host:80"),
        ("alice@exam", "[redacted:email]"),
        ("4111 1111 11", "[redacted:credit_card]"),
        ("+4930901", "[redacted:phone]"),
        ("the sky is bl", "the sky is bl"),
    ] {
        let text = plain(text);
        let mut cut = text.clone();
        redactor.redact(&mut cut, true);
        assert_eq!(cut, want);
        redactor.redact(&mut cut, true);
        assert_eq!(cut, want, "again");
        assert!(matches!(redactor.text(&text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn none_is_none() {
    let redactor = Redactor::none();
    let text = plain("s~k-proj-AbCdEfGhIjKlMnOpQr0123456789 a@example.com 4111111111111111");
    assert!(redactor.is_off() && redactor.text(&text) == text && redactor.counts().is_empty());
}

fn with_paths(paths: &[&str]) -> Redactor {
    let rules = Rules {
        paths: paths.iter().map(|p| p.parse().unwrap()).collect(),
        ..Rules::none()
    };
    Redactor::new(&rules).unwrap()
}

#[test]
fn an_operators_paths() {
    let redactor = with_paths(&["$..password", "who=$.user[?@.age > 17]", "$.list[1:]"]);
    let mut value = json!({
        "password": {"a": "b"},
        "user": [{"age": 17}, {"age": 18, "password": "x"}],
        "list": [1, {"password": 2}, "3"],
        "text": "{\"password\": \"x\", \"n\": 1.50}",
    });
    redactor.value_document(&mut value);
    let after = json!({
        "password": "[redacted:path]",
        "user": [{"age": 17}, "[redacted:who]"],
        "list": [1, "[redacted:path]", "[redacted:path]"],
        "text": "{\"password\":\"[redacted:path]\",\"n\":1.5}",
    });
    assert_eq!(value, after);
    redactor.value_document(&mut value);
    assert_eq!(value, after);
    let mut text = "[no JSON, password: x".to_owned();
    redactor.text_document(&mut text);
    assert_eq!(text, "[no JSON, password: x");
    let rules: Vec<_> = redactor.counts().into_iter().map(|c| c.rule).collect();
    assert_eq!(rules, ["path", "who"]);
}

#[test]
fn paths_that_cannot_be() {
    use super::PathRule;
    for (text, word) in [
        ("password", "no JSON path"),
        ("x=$..[", "no JSON path"),
        ("X=$.a", "no name for a rule"),
    ] {
        let error = text.parse::<PathRule>().unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
    }
    let rules = Rules {
        paths: vec!["email=$.a".parse().unwrap()],
        ..Rules::default()
    };
    assert!(Redactor::new(&rules).is_err());
}

#[test]
fn rules_in_a_file() {
    let text = "\
rules: [keys, email]
patterns:
  - name: employee
    regex: 'E-[0-9]{6}'
paths:
  - path: $..password
  - name: ssn
    path: $..ssn
";
    let rules: Rules = serde_yaml_ng::from_str(text).unwrap();
    let again = serde_yaml_ng::to_string(&rules).unwrap();
    assert_eq!(serde_yaml_ng::from_str::<Rules>(&again).unwrap(), rules);
    assert_eq!(rules.built_in().len(), BuiltIn::ALL.len() - 2);
    assert_eq!(
        serde_yaml_ng::from_str::<Rules>("{}").unwrap(),
        Rules::default()
    );
    for (text, words) in [
        ("rules: [keys, mail]", ["there is no rule `mail`", "line 1"]),
        (
            "patterns:\n  - name: x\n    regex: '('",
            ["no regular expression", "line 2"],
        ),
        ("paths:\n  - path: a", ["no JSON path", "line 2"]),
        // The parser gives no line for a field of the top level: it names what may stand there.
        (
            "pattern: []",
            [
                "unknown field `pattern`",
                "one of `rules`, `patterns`, `paths`",
            ],
        ),
    ] {
        let error = serde_yaml_ng::from_str::<Rules>(text).unwrap_err();
        let error = error.to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    }
}
