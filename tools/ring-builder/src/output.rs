//! What a command says: lines as they come, or one JSON object at its end.

use serde_json::{Map, Value, json};

use super::Exit;

/// Why a command ends with 2.
#[derive(Debug)]
pub(super) enum Problem {
    /// What Swift's tool tells on its standard output.
    Told(String),
    /// What Swift's tool ends with a traceback for.
    Uncaught(String),
    /// Nothing is left to say.
    Silent,
    /// None: its options were asked for, and told.
    Helped,
}

impl Problem {
    /// What there is to say of it.
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Told(text) | Self::Uncaught(text) => text,
            Self::Silent | Self::Helped => String::new(),
        }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::Told(text)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self::Told(text.to_owned())
    }
}

/// Where a command's words go.
#[derive(Debug)]
pub(super) struct Output {
    /// Facts and lines; `None` prints lines at once.
    json: Option<(Map<String, Value>, Vec<String>)>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json: json.then(Default::default) }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Says a line, or several.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        let text = text.into();
        match &mut self.json {
            Some((_, lines)) => lines.extend(text.lines().map(str::to_owned)),
            None => println!("{text}"),
        }
    }

    /// Says a line that tells people what [`Output::set`] tells programs.
    pub(super) fn show(&mut self, text: impl Into<String>) {
        if !self.is_json() {
            self.say(text);
        }
    }

    /// Says a warning beside what scripts read.
    pub(super) fn warn(&mut self, text: &str) {
        match &mut self.json {
            Some((_, lines)) => lines.push(text.trim_end().to_owned()),
            None => eprintln!("{text}"),
        }
    }

    /// Sets a fact of the JSON object.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        if let Some((facts, _)) = &mut self.json {
            facts.insert(key.to_owned(), value.into());
        }
    }

    /// Ends: says what went wrong, and the JSON object.
    pub(super) fn end(mut self, done: Result<Exit, Problem>) -> Exit {
        let exit = match done {
            Ok(exit) => exit,
            Err(Problem::Helped) => return Exit::Success,
            Err(problem) => {
                match problem {
                    Problem::Told(text) if self.is_json() => self.set("error", text),
                    Problem::Uncaught(text) if self.is_json() => self.set("error", text),
                    Problem::Told(text) => self.say(text),
                    Problem::Uncaught(text) => self.warn(&format!("ring-builder: {text}")),
                    Problem::Silent | Problem::Helped => {}
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
