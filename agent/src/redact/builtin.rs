//! The table of built-in rules: what they are called, what they find, and in which group they are.

/// Which rules belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Whatever lets in: keys, tokens, passwords. On unless the operator says otherwise.
    Keys,
    /// What tells of a person. Off unless the operator asks for it.
    Pii,
}

impl Group {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Pii => "pii",
        }
    }
}

macro_rules! rules {
    ($($rule:ident = $name:literal, $group:ident, $what:literal;)*) => {
        /// A built-in rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum BuiltIn {
            $(#[doc = $what] $rule,)*
        }

        impl BuiltIn {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$rule),*];

            /// Its name, as it stands in what replaces a find.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => $name,)* }
            }

            /// Its group.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $(Self::$rule => Group::$group,)* }
            }

            /// What it finds, in words.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$rule => $what,)* }
            }
        }
    };
}

rules! {
    OpenAi = "openai_key", Keys, "OpenAI's keys, and those of others in the same form: sk-…";
    Anthropic = "anthropic_key", Keys, "Anthropic's keys: sk-ant-…";
    DashScope = "dashscope_key", Keys, "DashScope's and DeepSeek's keys: sk- and 32 digits of base 16";
    Alibaba = "alibaba_key", Keys, "Alibaba Cloud's access keys: LTAI…, and secrets that are named so";
    Aws = "aws_key", Keys, "Amazon's access keys: AKIA…, ASIA…, Bedrock's keys, and secrets that are named so";
    Azure = "azure_key", Keys, "Azure's account keys: AccountKey=…, SharedAccessKey=…";
    Google = "google_key", Keys, "Google's keys and tokens: AIza…, GOCSPX-…, ya29.…";
    GitHub = "github_token", Keys, "GitHub's and GitLab's tokens: ghp_…, github_pat_…, glpat-…";
    Slack = "slack_token", Keys, "Slack's tokens and hooks: xoxb-…, xapp-…, hooks.slack.com/services/…";
    Stripe = "stripe_key", Keys, "Stripe's secret keys: sk_live_…, rk_live_…, whsec_…";
    HuggingFace = "huggingface_token", Keys, "Hugging Face's tokens: hf_…";
    Service = "service_key", Keys, "keys of Groq, xAI, Perplexity, Replicate, NVIDIA, Together, Pinecone, LangSmith, Tavily, Jina, Dify, SendGrid, Databricks, npm, PyPI";
    Jwt = "jwt", Keys, "JSON Web Tokens: eyJ….eyJ….…";
    PrivateKey = "private_key", Keys, "private keys in PEM form, whole";
    Bearer = "bearer_token", Keys, "what stands behind the word Bearer, or behind Basic in an authorization header";
    UrlSignature = "url_signature", Keys, "the signature of a link that lets in whoever has it: ?sig=…, &Signature=…, X-Amz-Signature=…";
    UrlPassword = "url_password", Keys, "the password in scheme://user:password@host";
    CreditCard = "credit_card", Pii, "numbers of credit cards: a known issuer's beginning and length, and a right check digit";
    Email = "email", Pii, "e-mail addresses";
    Phone = "phone", Pii, "telephone numbers: international with +, North American and Chinese ones";
}

impl BuiltIn {
    /// The rule with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::BuiltIn;

    #[test]
    fn names_are_unique_and_find_their_rule() {
        for rule in BuiltIn::ALL {
            assert_eq!(BuiltIn::named(rule.name()), Some(*rule));
            assert!(!rule.what().is_empty());
        }
        assert_eq!(BuiltIn::named("keys"), None);
    }
}
