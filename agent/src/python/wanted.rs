//! Functions as they are asked for: `module:Qualified.name`, with the arguments that are to be told
//! behind it in parentheses.

use std::str::FromStr;

use genspan_common::function::MAX_ARGUMENTS;
use thiserror::Error;

use super::find::{FunctionName, NotFound};

/// A function that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: FunctionName,
    /// Names of the arguments that are to be told, each once.
    pub arguments: Vec<String>,
}

/// Why nothing can be asked for with a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadWanted {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NotFound),
    /// What stands behind it is no list of arguments.
    #[error("expected arguments as in `app:answer(question, user)`")]
    Arguments,
    /// There are too many.
    #[error("at most {MAX_ARGUMENTS} arguments of a function can be told")]
    TooMany,
}

impl FromStr for Wanted {
    type Err = BadWanted;

    fn from_str(text: &str) -> Result<Self, BadWanted> {
        let (name, list) = match text.split_once('(') {
            Some((name, rest)) => {
                let list = rest.strip_suffix(')').ok_or(BadWanted::Arguments)?;
                (name, list)
            }
            None => (text, ""),
        };
        let name = FunctionName::parse(name.trim())?;
        let mut arguments: Vec<String> = Vec::new();
        let given = list.split(',').map(str::trim);
        for argument in given.filter(|_| !list.trim().is_empty()) {
            // As they are written in Python.
            let argument = argument.trim_start_matches('*');
            let is_word = argument.chars().all(|c| c.is_alphanumeric() || c == '_');
            if argument.is_empty() || !is_word {
                return Err(BadWanted::Arguments);
            }
            if !arguments.iter().any(|a| a == argument) {
                arguments.push(argument.to_owned());
            }
        }
        if arguments.len() > MAX_ARGUMENTS {
            return Err(BadWanted::TooMany);
        }
        Ok(Self { name, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::{BadWanted, Wanted};

    #[test]
    fn functions_are_asked_for() {
        for (text, name, arguments) in [
            ("app:answer", "app:answer", vec![]),
            ("app:answer()", "app:answer", vec![]),
            ("a.b:C.run(self, text)", "a.b:C.run", vec!["self", "text"]),
            (" a:f ( x,x, **more )", "a:f", vec!["x", "more"]),
        ] {
            let wanted: Wanted = text.parse().unwrap();
            assert_eq!(wanted.name.to_string(), name);
            assert_eq!(wanted.arguments, arguments);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["a:f(x", "a:f(x,,y)", "a:f(x y)", "a:f(x)y", "a:f(,)"] {
            assert_eq!(bad.parse::<Wanted>(), Err(BadWanted::Arguments), "{bad}");
        }
        assert!(matches!("f(x)".parse::<Wanted>(), Err(BadWanted::Name(_))));
        let many = "a:f(a,b,c,d,e,f,g,h,i)";
        assert_eq!(many.parse::<Wanted>(), Err(BadWanted::TooMany));
    }
}
