//! What an operator sets for the processes that a rule fits. Pure.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::rules::Rule;
use crate::model::process::{ContentPolicy, ProcessFacts, Share};

/// What is set for a process; what is not set is as it is for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What is told of content.
    pub content: Option<Content>,
    /// Characters to which each text of a message is cut.
    pub max_message_chars: Option<usize>,
    /// The name of its service.
    pub service: Option<String>,
    /// Whether its requests are told with their call paths.
    pub stacks: Option<bool>,
    /// Of which traces its spans are told.
    pub share: Option<Share>,
    /// It is no Python, and is read all the same: not written, but by
    /// [`Rules::include_other`](super::rules::Rules::include_other).
    pub other: bool,
}

/// What is told of content.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// In attributes of spans.
    Spans,
    /// In events.
    Events,
    /// In both.
    Both,
    /// In neither, unless the process asks for it.
    None,
    /// In neither, whatever the process asks for.
    Forbid,
}

impl Settings {
    /// What holds of content where the process itself says nothing, by what holds for all.
    #[must_use]
    pub fn defaults(&self, of_all: &ContentPolicy) -> ContentPolicy {
        let mut policy = of_all.clone();
        if let Some(content) = self.content {
            policy.on_spans = matches!(content, Content::Spans | Content::Both);
            policy.on_events = matches!(content, Content::Events | Content::Both);
        }
        if let Some(most) = self.max_message_chars {
            policy.max_message_chars = most;
        }
        policy
    }

    /// What holds of a process, whatever it says itself.
    pub fn enforce(&self, facts: &mut ProcessFacts) {
        if self.content == Some(Content::Forbid) {
            facts.content.on_spans = false;
            facts.content.on_events = false;
        }
        facts.share = self.share.unwrap_or_default();
    }

    /// What these do not set is as the others have it.
    pub(super) fn fill(&mut self, others: &Self) {
        self.content = self.content.or(others.content);
        self.max_message_chars = self.max_message_chars.or(others.max_message_chars);
        if self.service.is_none() {
            self.service.clone_from(&others.service);
        }
        self.stacks = self.stacks.or(others.stacks);
        self.share = self.share.or(others.share);
    }
}

/// A rule with what it sets for the processes that it fits.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// Which processes.
    pub rule: Rule,
    /// What is set.
    pub settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rule: Spelled,
    content: Option<Content>,
    max_message: Option<usize>,
    #[serde(default, deserialize_with = "name")]
    service: Option<String>,
    stacks: Option<bool>,
    #[serde(default, deserialize_with = "share")]
    sample: Option<Share>,
}

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Share>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(from)? else {
        return Ok(None);
    };
    let expected = "expected a number from 0 to 1, as in 0.1";
    let share = Share::of(number).ok_or_else(|| D::Error::custom(expected))?;
    Ok(Some(share))
}

struct Spelled(Rule);

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let rule = text.parse().map_err(D::Error::custom);
        rule.map(Self)
    }
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(D::Error::custom("expected the name of a service"));
    }
    Ok(name)
}

impl<'de> Deserialize<'de> for RuleSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(from)?;
        Ok(Self {
            rule: written.rule.0,
            settings: Settings {
                content: written.content,
                max_message_chars: written.max_message,
                service: written.service,
                stacks: written.stacks,
                share: written.sample,
                other: false,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, Settings};
    use crate::model::process::{ContentPolicy, ProcessFacts, Share};

    #[test]
    fn what_a_process_says_is_filled_in_and_not_overruled_but_where_it_is_forbidden() {
        for (content, spans, events) in [
            (None, true, false),
            (Some(Content::Spans), true, false),
            (Some(Content::Events), false, true),
            (Some(Content::Both), true, true),
            (Some(Content::None), false, false),
            (Some(Content::Forbid), false, false),
        ] {
            let settings = Settings {
                content,
                ..Settings::default()
            };
            let defaults = settings.defaults(&ContentPolicy::default());
            assert_eq!((defaults.on_spans, defaults.on_events), (spans, events));
            // The process asks for both.
            let mut facts = ProcessFacts::default();
            facts.content.on_events = true;
            settings.enforce(&mut facts);
            let forbidden = content == Some(Content::Forbid);
            assert_eq!(
                (facts.content.on_spans, facts.content.on_events),
                (!forbidden, !forbidden)
            );
        }
    }

    #[test]
    fn of_several_the_first_counts() {
        let mut first = Settings {
            max_message_chars: Some(1),
            ..Settings::default()
        };
        first.fill(&Settings {
            max_message_chars: Some(2),
            service: Some("a".to_owned()),
            content: None,
            stacks: Some(true),
            share: Share::of(0.5),
            other: true,
        });
        assert!(!first.other, "nobody sets that by a rule of this kind");
        first.fill(&Settings {
            stacks: Some(false),
            share: Some(Share::ALL),
            ..Settings::default()
        });
        assert_eq!((first.stacks, first.share), (Some(true), Share::of(0.5)));
        let mut facts = ProcessFacts::default();
        first.enforce(&mut facts);
        assert_eq!(Some(facts.share), Share::of(0.5));
        Settings::default().enforce(&mut facts);
        assert_eq!(facts.share, Share::ALL);
        assert_eq!(
            (first.max_message_chars, first.service.as_deref()),
            (Some(1), Some("a"))
        );
        assert_eq!(
            first.defaults(&ContentPolicy::default()).max_message_chars,
            1
        );
    }
}
