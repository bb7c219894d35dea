//! The parser of configuration files, and views of their sections.
//!
//! It follows Swift: Python's ConfigParser without interpolation, plus Paste Deploy's rule that `set`
//! overrides `[DEFAULT]`. `%` is literal. Options keep their case, since some contain names
//! (`user_<account>_<user>`, `delay_reaping_<account>`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use apus_options::{GivenOption, OptionSource};

use super::ConfigError;

/// A configuration that was read. Sections keep their order.
///
/// ```
/// use apus_daemon::config::Conf;
/// use apus_options::{options, port};
/// options! {
///     /// Options of a server.
///     struct ServerOptions {
///         /// Port.
///         bind_port: u16 = port(6200),
///     }
/// }
/// let conf = Conf::parse("[DEFAULT]\nbind_port = 6200\n[app:object-server]\nset bind_port = 6210\n")?;
/// let options = ServerOptions::read(&conf.section("app:object-server"))?;
/// assert_eq!(options.bind_port, 6210);
/// let conf = Conf::parse("[app:object-server]\nbind_port = many\n")?;
/// let error = ServerOptions::read(&conf.section("app:object-server")).err().map(|error| error.to_string());
/// assert!(error.is_some_and(|error| error.ends_with("expected a port")));
/// # Ok::<(), apus_daemon::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Conf {
    sections: Vec<(String, BTreeMap<String, Entry>)>,
    source: String,
}

/// The value of an option, with its file and line.
#[derive(Debug, Clone)]
struct Entry {
    value: String,
    file: Arc<str>,
    /// From 1.
    line: usize,
}

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
        let file: Arc<str> = file.into();
        let mut section: Option<usize> = None;
        let mut last: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let trimmed = line.trim();
            let refused = |expected: String| ConfigError::Syntax {
                file: file.to_string(),
                line: number,
                expected,
            };
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let (Some(section), Some(key)) = (section, &last)
                && let Some((_, options)) = self.sections.get_mut(section)
                && let Some(entry) = options.get_mut(key)
            {
                entry.value.push('\n');
                entry.value.push_str(trimmed);
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
                let value = value.trim().to_owned();
                options.insert(key.clone(), Entry { value, file: file.clone(), line: number });
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
            let options = options.iter().map(|(key, entry)| (key.as_str(), entry.value.as_str()));
            (name.as_str(), options.collect())
        })
    }

    /// Every option with its place.
    pub fn given(&self) -> impl Iterator<Item = GivenOption<'_>> {
        self.sections.iter().flat_map(|(section, options)| {
            options.iter().map(|(name, entry)| given(section, name, entry))
        })
    }

    /// One section over `[DEFAULT]`; empty when neither exists.
    pub fn section(&self, name: &str) -> Section<'_> {
        let find = |name: &str| {
            let found = self.sections.iter().find(|(known, _)| known == name);
            found.map(|(name, options)| (name.as_str(), options))
        };
        let layers = [find(name), find("DEFAULT"), None];
        Section { name: name.to_owned(), layers, conf: self }
    }

    /// A daemon's section over `[DEFAULT]`, as in Swift, and over the section of its server.
    pub fn daemon_section(&self, name: &str, server: &str) -> Section<'_> {
        let [own, defaults, _] = self.section(name).layers;
        let [server, ..] = self.section(server).layers;
        Section { layers: [own, defaults, server], ..self.section(name) }
    }
}

fn given<'a>(section: &'a str, name: &'a str, entry: &'a Entry) -> GivenOption<'a> {
    GivenOption { section, name, value: &entry.value, file: &entry.file, line: entry.line }
}

/// A section's name and its own options.
type Layer<'a> = (&'a str, &'a BTreeMap<String, Entry>);

/// One section's view of the configuration.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    name: String,
    /// Sections in the order in which they are searched.
    layers: [Option<Layer<'a>>; 3],
    conf: &'a Conf,
}

impl<'a> Section<'a> {
    /// An option with the place that it comes from.
    pub fn origin(&self, name: &str) -> Option<GivenOption<'a>> {
        self.layers.iter().flatten().find_map(|(section, options)| {
            let (name, entry) = options.get_key_value(name)?;
            Some(given(section, name, entry))
        })
    }

    /// An option's text, which stays as long as the configuration does.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.origin(name).map(|given| given.value)
    }

    /// All options of the section itself.
    pub fn own(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let [own, ..] = &self.layers;
        let options = own.iter().flat_map(|(_, options)| *options);
        options.map(|(name, entry)| (name.as_str(), entry.value.as_str()))
    }

    /// The error for a value that is not as expected.
    pub fn refuse(&self, name: &str, value: &str, expected: &str) -> ConfigError {
        ConfigError::Value {
            file: self.conf.source.clone(),
            section: self.name.clone(),
            option: name.to_owned(),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

impl OptionSource for Section<'_> {
    type Error = ConfigError;

    fn text(&self, name: &str) -> Option<&str> {
        Section::text(self, name)
    }

    fn refuse(&self, name: &str, value: &str, expected: &str) -> ConfigError {
        Section::refuse(self, name, value, expected)
    }
}

#[cfg(test)]
mod tests {
    use apus_options::port;

    use super::*;

    #[test]
    fn sections_inherit_defaults_and_set_overrides() {
        let conf = Conf::parse(
            "[DEFAULT]\nbind_port = 6200\nname = %x\n# no\n[app:object-server]\nset bind_port=6210\nlong = a\n  b\n",
        )
        .unwrap();
        let section = conf.section("app:object-server");
        assert_eq!(section.text("bind_port"), Some("6210"));
        assert_eq!(section.text("name"), Some("%x"));
        assert_eq!(section.text("long"), Some("a\nb"));
        let places = ["bind_port", "name"].map(|name| section.origin(name).unwrap());
        assert_eq!(
            places.map(|given| (given.section, given.line)),
            [("app:object-server", 6), ("DEFAULT", 3)]
        );
    }

    #[test]
    fn a_daemons_section_comes_before_defaults_and_those_before_its_servers() {
        let text = "[DEFAULT]\na = default\nb = default\n[app:x-server]\nb = server\nc = server\n[x-auditor]\na = own\n";
        let conf = Conf::parse(text).unwrap();
        let daemon = conf.daemon_section("x-auditor", "app:x-server");
        let said = ["a", "b", "c", "d"].map(|key| daemon.text(key));
        assert_eq!(said, [Some("own"), Some("default"), Some("server"), None]);
        let absent = conf.daemon_section("x-updater", "app:x-server");
        assert_eq!((absent.text("a"), absent.text("c")), (Some("default"), Some("server")));
    }

    #[test]
    fn names_in_options_keep_their_case() {
        let conf = Conf::parse("[f]\ndelay_reaping_AUTH_a = 1\n").unwrap();
        let own: Vec<_> = conf.section("f").own().collect();
        assert_eq!(own, [("delay_reaping_AUTH_a", "1")]);
    }

    #[test]
    fn errors_name_place_value_and_expectation() {
        let conf = Conf::parse("[a]\nport = many\n").unwrap();
        let error = conf.section("a").read::<u16>(&port(0).named("port")).unwrap_err().to_string();
        for word in ["[a]", "port", "many", "a port"] {
            assert!(error.contains(word), "{error}");
        }
        let error = Conf::parse("[a]\nnonsense\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
