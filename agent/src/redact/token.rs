//! Keys that are told by how they begin: a literal, then a run of certain characters.

use super::builtin::BuiltIn;
use super::class::{Class, word_begins};
use super::find::{Find, Text};
use core::ops::RangeInclusive;

/// The form of a kind of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) rule: BuiltIn,
    /// How it begins.
    pub(super) prefix: &'static str,
    /// What follows.
    class: Class,
    /// How many of those.
    len: (usize, usize),
    /// What they must be like.
    check: Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Anything.
    Any,
    /// As if drawn at random: words with hyphens between are not.
    Random,
}

const fn token(
    rule: BuiltIn,
    prefix: &'static str,
    class: Class,
    len: RangeInclusive<usize>,
    check: Check,
) -> Token {
    Token {
        rule,
        prefix,
        class,
        len: (*len.start(), *len.end()),
        check,
    }
}

const MANY: usize = usize::MAX;

/// All forms. Of those with the same beginning the first that fits counts; a beginning that holds
/// another one stands before it.
#[rustfmt::skip]
pub(super) const TOKENS: &[Token] = &[
    token(BuiltIn::Anthropic, "sk-ant-", Class::URL, 16..=MANY, Check::Random),
    token(BuiltIn::DashScope, "sk-", Class::HEX, 32..=32, Check::Any),
    token(BuiltIn::OpenAi, "sk-", Class::URL, 20..=MANY, Check::Random),
    token(BuiltIn::Alibaba, "LTAI", Class::ALNUM, 12..=26, Check::Random),
    token(BuiltIn::Aws, "AKIA", Class::UPPER, 16..=16, Check::Any),
    token(BuiltIn::Aws, "ASIA", Class::UPPER, 16..=16, Check::Any),
    token(BuiltIn::Aws, "ABSK", Class::BASE64, 60..=MANY, Check::Random),
    token(BuiltIn::Aws, "bedrock-api-key-", Class::BASE64, 40..=MANY, Check::Random),
    token(BuiltIn::Google, "AIza", Class::URL, 35..=MANY, Check::Random),
    token(BuiltIn::Google, "GOCSPX-", Class::URL, 20..=MANY, Check::Random),
    token(BuiltIn::Google, "ya29.", Class::DOTTED, 20..=MANY, Check::Random),
    token(BuiltIn::GitHub, "github_pat_", Class::WORD, 22..=MANY, Check::Random),
    token(BuiltIn::GitHub, "ghp_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::GitHub, "gho_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::GitHub, "ghu_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::GitHub, "ghs_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::GitHub, "ghr_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::GitHub, "glpat-", Class::DOTTED, 20..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxb-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxp-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxa-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxr-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxs-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxe-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xoxe.", Class::DOTTED, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "xapp-", Class::URL, 10..=MANY, Check::Random),
    token(BuiltIn::Slack, "hooks.slack.com/services/", Class::PATH, 20..=MANY, Check::Random),
    token(BuiltIn::Stripe, "sk_live_", Class::WORD, 16..=MANY, Check::Random),
    token(BuiltIn::Stripe, "sk_test_", Class::WORD, 16..=MANY, Check::Random),
    token(BuiltIn::Stripe, "rk_live_", Class::WORD, 16..=MANY, Check::Random),
    token(BuiltIn::Stripe, "rk_test_", Class::WORD, 16..=MANY, Check::Random),
    token(BuiltIn::Stripe, "whsec_", Class::BASE64, 24..=MANY, Check::Random),
    token(BuiltIn::HuggingFace, "hf_", Class::ALNUM, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "gsk_", Class::ALNUM, 40..=MANY, Check::Random),
    token(BuiltIn::Service, "xai-", Class::ALNUM, 40..=MANY, Check::Random),
    token(BuiltIn::Service, "pplx-", Class::ALNUM, 32..=MANY, Check::Random),
    token(BuiltIn::Service, "r8_", Class::ALNUM, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "nvapi-", Class::URL, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "tgp_v1_", Class::URL, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "pcsk_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "lsv2_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "tvly-", Class::URL, 20..=MANY, Check::Random),
    token(BuiltIn::Service, "jina_", Class::WORD, 30..=MANY, Check::Random),
    token(BuiltIn::Service, "app-", Class::ALNUM, 24..=24, Check::Random),
    token(BuiltIn::Service, "dataset-", Class::ALNUM, 24..=24, Check::Random),
    token(BuiltIn::Service, "SG.", Class::DOTTED, 60..=MANY, Check::Random),
    token(BuiltIn::Service, "dapi", Class::HEX, 32..=32, Check::Any),
    token(BuiltIn::Service, "npm_", Class::ALNUM, 36..=MANY, Check::Random),
    token(BuiltIn::Service, "pypi-AgE", Class::URL, 50..=MANY, Check::Random),
];

impl Token {
    /// Looks at its beginning, which stands at `at`.
    pub(super) fn find(&self, text: &Text<'_>, at: usize) -> Find {
        let bytes = text.bytes();
        if !word_begins(bytes, at, text.floor) {
            return Find::None;
        }
        let body = at + self.prefix.len();
        let run = self.class.run(bytes, body);
        // A point ends a sentence.
        let dots = bytes[body..run].iter().rev().take_while(|b| **b == b'.');
        let end = run - dots.count();
        if text.cut && run == bytes.len() && run > body {
            return Find::Here(at..run);
        }
        let len = end - body;
        let fits = len >= self.len.0 && len <= self.len.1;
        // Where more of the same could follow, the end is none: not 32 of a longer name.
        let ends = self.len.1 == MANY
            || !bytes
                .get(end)
                .is_some_and(|b| Class::WORD.has(*b) || *b == b'-' && continues(bytes, end));
        if fits && ends && self.check.passes(&bytes[body..end]) {
            Find::Here(at..end)
        } else {
            Find::Not {
                until: end.max(body),
            }
        }
    }
}

/// Whether a hyphen joins two parts of one word.
fn continues(bytes: &[u8], hyphen: usize) -> bool {
    bytes.get(hyphen + 1).is_some_and(|b| Class::ALNUM.has(*b))
}

impl Check {
    fn passes(self, body: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Random => {
                let any = |f: fn(&u8) -> bool| body.iter().any(f);
                let mixed = any(u8::is_ascii_uppercase) && any(u8::is_ascii_lowercase);
                any(u8::is_ascii_digit) || (mixed && body.len() >= 32)
            }
        }
    }
}
