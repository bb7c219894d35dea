//! Output of commands: lines at once, or one JSON object at the end.

use std::fmt;

use apus_disk::WriteError;
use apus_ring::builder::lock::LockError;
use apus_ring::{BuilderError, RingError, SyntaxError};
use serde_json::{Map, Value, json};

use super::Exit;
use super::quantity::QuantityError;

/// A failure of a command, which then exits with 2.
#[derive(Debug)]
pub(super) enum CommandError {
    /// Swift's tool prints it on standard output.
    Message(String),
    /// Swift's tool ends with a traceback.
    Uncaught(String),
    /// The message was printed already.
    Printed,
    /// Not a failure: the help was requested and printed.
    HelpShown,
}

impl CommandError {
    /// A failure for which Swift's tool ends with a traceback.
    pub(super) fn uncaught(error: impl fmt::Display) -> Self {
        Self::Uncaught(error.to_string())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text) | Self::Uncaught(text) => f.write_str(text),
            Self::Printed | Self::HelpShown => Ok(()),
        }
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Message(text)
    }
}

impl From<&str> for CommandError {
    fn from(text: &str) -> Self {
        Self::Message(text.to_owned())
    }
}

/// Errors that Swift's tool prints on standard output.
macro_rules! messages {
    ($($error:ty),*) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::Message(error.to_string())
            }
        })*
    };
}

messages!(BuilderError, LockError, QuantityError, RingError, SyntaxError, WriteError);

/// The output of a command.
#[derive(Debug)]
pub(super) struct Output {
    /// Values and lines; `None` prints lines at once.
    json: Option<(Map<String, Value>, Vec<String>)>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json: json.then(Default::default) }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Prints a line, or several.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        match &mut self.json {
            Some((_, lines)) => lines.extend(text.lines().map(str::to_owned)),
            None => println!("{text}"),
        }
    }

    /// Prints a line unless the output is JSON, where [`Output::set`] has the same.
    pub(super) fn show(&mut self, text: impl Into<String>) {
        if !self.is_json() {
            self.say(text);
        }
    }

    /// Prints a warning on standard error, apart from what scripts read.
    pub(super) fn warn(&mut self, text: &str) {
        match &mut self.json {
            Some((_, lines)) => lines.push(text.trim_end().to_owned()),
            None => eprintln!("{text}"),
        }
    }

    /// Sets a value of the JSON object.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Some((facts, _)) = &mut self.json {
            facts.insert(key.to_owned(), value.into());
        }
    }

    /// Prints the failure, and the JSON object; returns the exit code.
    pub(super) fn end(mut self, done: Result<Exit, CommandError>) -> Exit {
        let exit = match done {
            Ok(exit) => exit,
            Err(CommandError::HelpShown) => return Exit::Success,
            Err(problem) => {
                match problem {
                    CommandError::Message(text) if self.is_json() => self.set("error", text),
                    CommandError::Uncaught(text) if self.is_json() => self.set("error", text),
                    CommandError::Message(text) => self.say(text),
                    CommandError::Uncaught(text) => self.warn(&format!("ring-builder: {text}")),
                    CommandError::Printed | CommandError::HelpShown => {}
                }
                Exit::Error
            }
        };
        if let Some((mut facts, lines)) = self.json {
            if !lines.is_empty() {
                facts.insert("messages".to_owned(), json!(lines));
            }
            facts.insert("exit".to_owned(), json!(exit.code()));
            println!("{}", Value::Object(facts));
        }
        exit
    }
}
