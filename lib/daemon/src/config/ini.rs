//! The parser of configuration files, and views of their sections.
//!
//! It follows Swift: Python's ConfigParser without interpolation, plus Paste Deploy's rule that `set`
//! overrides `[DEFAULT]`. `%` is literal. Options keep their case, since some contain names
//! (`user_<account>_<user>`, `delay_reaping_<account>`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::ConfigError;

/// A configuration that was read. Sections keep their order.
///
/// ```
/// use apus_daemon::config::Conf;
/// let conf = Conf::parse("[DEFAULT]\nbind_port = 6200\n[app:object-server]\nset bind_port = 6210\n")?;
/// let section = conf.section("app:object-server");
/// assert_eq!(section.parse("bind_port", 0_u16, "a port")?, 6210);
/// let error = section.parse("bind_port", false, "true or false").unwrap_err();
/// assert!(error.to_string().ends_with("expected true or false"));
/// # Ok::<(), apus_daemon::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Conf {
    sections: Vec<(String, BTreeMap<String, String>)>,
    source: String,
    /// Section and option of everything that was read.
    asked: Arc<Mutex<BTreeSet<(String, String)>>>,
}

/// Options of Paste Deploy, which have no effect here.
const PASTE: [&str; 1] = ["use"];

impl Conf {
    /// Reads a file, or every `*.conf` of a directory in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not as expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |file: &Path, source| ConfigError::Read { file: file.to_owned(), source };
        let mut conf = Self { source: path.display().to_string(), ..Self::default() };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            files = std::fs::read_dir(path)
                .map_err(|error| failed(path, error))?
                .filter_map(Result::ok)
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
                .collect();
            files.sort();
        }
        for file in files {
            let text = std::fs::read_to_string(&file).map_err(|error| failed(&file, error))?;
            conf.merge(&text, &file.display().to_string())?;
        }
        Ok(conf)
    }

    /// Parses text.
    ///
    /// # Errors
    /// A line that is not as expected.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        const SOURCE: &str = "configuration";
        let mut conf = Self { source: SOURCE.to_owned(), ..Self::default() };
        conf.merge(text, SOURCE)?;
        Ok(conf)
    }

    fn merge(&mut self, text: &str, file: &str) -> Result<(), ConfigError> {
        let mut section: Option<usize> = None;
        let mut last: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let trimmed = line.trim();
            let refused = |expected: String| ConfigError::Syntax {
                file: file.to_owned(),
                line: number,
                expected,
            };
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let (Some(section), Some(key)) = (section, &last)
                && let Some((_, options)) = self.sections.get_mut(section)
                && let Some(value) = options.get_mut(key)
            {
                value.push('\n');
                value.push_str(trimmed);
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[') {
                let name = name
                    .strip_suffix(']')
                    .ok_or_else(|| refused("section without closing bracket".to_owned()))?;
                section = Some(self.section_index(name));
                last = None;
                continue;
            }
            let (key, value) = trimmed
                .split_once(['=', ':'])
                .ok_or_else(|| refused(format!("expected `option = value`, got {trimmed:?}")))?;
            let at = section.ok_or_else(|| refused("option before any section".to_owned()))?;
            let key = key.trim();
            let key = key.strip_prefix("set ").map_or(key, str::trim).to_owned();
            if let Some((_, options)) = self.sections.get_mut(at) {
                options.insert(key.clone(), value.trim().to_owned());
            }
            last = Some(key);
        }
        Ok(())
    }

    fn section_index(&mut self, name: &str) -> usize {
        match self.sections.iter().position(|(known, _)| known == name) {
            Some(index) => index,
            None => {
                self.sections.push((name.to_owned(), BTreeMap::new()));
                self.sections.len() - 1
            }
        }
    }

    /// The sections with their own options (without those of `[DEFAULT]`).
    pub fn sections(&self) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
        self.sections.iter().map(|(name, options)| {
            let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            (name.as_str(), options.collect())
        })
    }

    /// One section over `[DEFAULT]`; empty when neither exists.
    pub fn section(&self, name: &str) -> Section<'_> {
        let find = |name: &str| {
            self.sections.iter().find(|(known, _)| known == name).map(|(_, options)| options)
        };
        let (own, defaults) = (find(name), find("DEFAULT"));
        Section { name: name.to_owned(), own, defaults, last: None, conf: self }
    }

    /// A daemon's section over `[DEFAULT]`, as in Swift, and over the section of its server.
    pub fn daemon_section(&self, name: &str, server: &str) -> Section<'_> {
        let last = self.section(server).own.map(|options| (server.to_owned(), options));
        Section { last, ..self.section(name) }
    }

    /// Options that were not read so far, as texts of warnings: they have no effect.
    pub fn unused(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unused = Vec::new();
        for (section, options) in &self.sections {
            for key in options.keys().filter(|key| !PASTE.contains(&key.as_str())) {
                let known = asked.iter().any(|(asked_section, asked_key)| {
                    asked_key == key && (asked_section == section || section == "DEFAULT")
                });
                if !known {
                    let source = &self.source;
                    unused.push(format!("{source}: [{section}] {key}: not known, has no effect"));
                }
            }
        }
        unused
    }

    fn note(&self, section: &str, key: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.insert((section.to_owned(), key.to_owned()));
    }
}

/// One section's view of the configuration.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    name: String,
    own: Option<&'a BTreeMap<String, String>>,
    defaults: Option<&'a BTreeMap<String, String>>,
    /// Another section for options that the first two do not have.
    last: Option<(String, &'a BTreeMap<String, String>)>,
    conf: &'a Conf,
}

impl<'a> Section<'a> {
    /// An option's text.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.conf.note(&self.name, key);
        let first = [self.own, self.defaults].into_iter().flatten();
        let said = first.filter_map(|options| options.get(key)).next();
        let said = said.or_else(|| {
            let (name, options) = self.last.as_ref()?;
            self.conf.note(name, key);
            options.get(key)
        });
        said.map(String::as_str)
    }

    /// All options of the section itself.
    pub fn own(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        for key in self.own.into_iter().flatten().map(|(key, _)| key) {
            self.conf.note(&self.name, key);
        }
        self.own.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// An option, or its default.
    ///
    /// # Errors
    /// A value that cannot be parsed.
    pub fn parse<T: FromStr>(
        &self,
        key: &str,
        default: T,
        expected: &str,
    ) -> Result<T, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| self.refuse(key, text, expected)),
        }
    }

    /// `concurrency`: a number from 1.
    ///
    /// # Errors
    /// As [`Section::parse`].
    pub fn concurrency(&self, default: usize) -> Result<usize, ConfigError> {
        const EXPECTED: &str = "a number from 1";
        match self.parse("concurrency", default, EXPECTED)? {
            0 => Err(self.refuse("concurrency", "0", EXPECTED)),
            concurrency => Ok(concurrency),
        }
    }

    /// A boolean option, in all of Swift's spellings.
    ///
    /// # Errors
    /// As [`Section::parse`].
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => super::value::flag(text)
                .ok_or_else(|| self.refuse(key, text, "true or false (yes, no, on, off, 1, 0)")),
        }
    }

    /// The error for a value that is not as expected.
    pub fn refuse(&self, key: &str, value: &str, expected: &str) -> ConfigError {
        ConfigError::Value {
            file: self.conf.source.clone(),
            section: self.name.clone(),
            option: key.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_inherit_defaults_and_set_overrides() {
        let conf = Conf::parse(
            "[DEFAULT]\nbind_port = 6200\nname = %x\n# no\n[app:object-server]\nset bind_port=6210\nlong = a\n  b\n",
        )
        .unwrap();
        let section = conf.section("app:object-server");
        assert_eq!(section.parse("bind_port", 0u16, "a port").unwrap(), 6210);
        assert_eq!(section.get("name"), Some("%x"));
        assert_eq!(section.get("long"), Some("a\nb"));
    }

    #[test]
    fn a_daemons_section_comes_before_defaults_and_those_before_its_servers() {
        let text = "[DEFAULT]\na = default\nb = default\n[app:x-server]\nb = server\nc = server\n[x-auditor]\na = own\n";
        let conf = Conf::parse(text).unwrap();
        let daemon = conf.daemon_section("x-auditor", "app:x-server");
        let said = ["a", "b", "c", "d"].map(|key| daemon.get(key));
        assert_eq!(said, [Some("own"), Some("default"), Some("server"), None]);
        let absent = conf.daemon_section("x-updater", "app:x-server");
        assert_eq!((absent.get("a"), absent.get("c")), (Some("default"), Some("server")));
    }

    #[test]
    fn names_in_options_keep_their_case() {
        let conf = Conf::parse("[f]\ndelay_reaping_AUTH_a = 1\n").unwrap();
        let own: Vec<_> = conf.section("f").own().collect();
        assert_eq!(own, [("delay_reaping_AUTH_a", "1")]);
    }

    #[test]
    fn options_that_are_not_read_are_reported() {
        let conf = Conf::parse(
            "[DEFAULT]\nbind_port = 1\nworkers = 8\n[app:a]\nuse = egg:x\nknown = 1\n[filter:b]\nrate = 2\n",
        )
        .unwrap();
        let section = conf.section("app:a");
        assert_eq!((section.get("bind_port"), section.get("known")), (Some("1"), Some("1")));
        let unused = conf.unused();
        assert_eq!(unused.len(), 2, "{unused:?}");
        assert!(unused[0].contains("[DEFAULT] workers") && unused[1].contains("[filter:b] rate"));
    }

    #[test]
    fn errors_name_place_value_and_expectation() {
        let error =
            Conf::parse("[a]\nport = many\n").unwrap().section("a").parse("port", 0u16, "a port");
        let error = error.unwrap_err().to_string();
        for word in ["[a]", "port", "many", "a port"] {
            assert!(error.contains(word), "{error}");
        }
        let error = Conf::parse("[a]\nnonsense\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
