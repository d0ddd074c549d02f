//! Colours, or none.

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Bold,
    Model,
    Good,
    Warning,
    Error,
    User,
    Assistant,
    System,
    Tool,
}

impl Style {
    /// The parameters of its SGR sequence: the terminal's own sixteen colours only, which its
    /// user has chosen to be readable.
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Model => "36",
            Self::Good => "32",
            Self::Warning => "33",
            Self::Error => "31",
            Self::User => "1;34",
            Self::Assistant => "1;32",
            Self::System => "1;35",
            Self::Tool => "1;33",
        }
    }
}

/// Paints if there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Painter {
    pub(super) colour: bool,
}

impl Painter {
    /// Appends the text in its style.
    pub(super) fn paint(self, out: &mut String, style: Style, text: &str) {
        let code = style.code();
        if !self.colour || code.is_empty() || text.is_empty() {
            out.push_str(text);
            return;
        }
        out.push_str("\x1b[");
        out.push_str(code);
        out.push('m');
        out.push_str(text);
        out.push_str("\x1b[0m");
    }
}
