//! The files of a configuration, and the checks of their options.

use std::path::{Path, PathBuf};

use apus_cluster::swift_conf::SWIFT_FILE;
use apus_daemon::config::{Conf, Share};
use apus_node::declarations::{ACCOUNT_FILE, CONTAINER_FILE, OBJECT_FILE, PROXY_FILE, verify};
use apus_node::{ProcessOptions, Server};
use apus_options::{FileDeclaration, OptionProblem, check as check_options};
use apus_ring_manager::RING_MANAGER_FILE;

use crate::report::Report;

/// Every file that is declared.
pub static FILES: [&FileDeclaration; 6] =
    [&SWIFT_FILE, &PROXY_FILE, &ACCOUNT_FILE, &CONTAINER_FILE, &OBJECT_FILE, &RING_MANAGER_FILE];

/// Files of daemons that Swift configures apart from their server.
const DAEMON_FILES: [(&str, &FileDeclaration); 2] =
    [("object-expirer.conf", &OBJECT_FILE), ("container-reconciler.conf", &CONTAINER_FILE)];

/// A file, or a `.conf.d` directory.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) declaration: &'static FileDeclaration,
    pub(crate) conf: Conf,
}

impl ConfigFile {
    /// The server whose file it is; `None` for the files of daemons and of the cluster.
    pub(crate) fn server(&self) -> Option<Server> {
        let server = Server::ALL
            .into_iter()
            .find(|server| self.declaration.name == format!("{}-server.conf", server.name()))?;
        let section = format!("app:{}-server", server.name());
        self.conf.sections().any(|(name, _)| name == section).then_some(server)
    }
}

/// The files of a directory, or one file.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The given path.
    pub(crate) path: PathBuf,
    pub(crate) files: Vec<ConfigFile>,
    /// Files that are not read here.
    pub(crate) others: Vec<PathBuf>,
    /// Errors of files that could not be parsed.
    pub(crate) unreadable: Vec<String>,
}

impl Configuration {
    /// Finds and reads the files.
    ///
    /// # Errors
    /// The path does not exist, or no file in it is known.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut found =
            Self { path: path.to_owned(), files: vec![], others: vec![], unreadable: vec![] };
        let is_directory_of_files =
            path.is_dir() && path.extension().is_none_or(|extension| extension != "d");
        if !is_directory_of_files {
            let conf = Conf::read(path).map_err(|error| error.to_string())?;
            let declaration = declaration_of(path, &conf).ok_or_else(|| {
                failed(&"neither its name nor its sections are those of a known file")
            })?;
            found.files.push(ConfigFile { path: path.to_owned(), declaration, conf });
            return Ok(found);
        }
        let entries = std::fs::read_dir(path).map_err(|error| failed(&error))?;
        let mut paths: Vec<PathBuf> =
            entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            found.add(path);
        }
        if found.files.is_empty() && found.unreadable.is_empty() {
            return Err(failed(&"no configuration file in it"));
        }
        // The cluster's file first.
        found.files.sort_by_key(|file| file.declaration.name != SWIFT_FILE.name);
        Ok(found)
    }

    fn add(&mut self, path: PathBuf) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
        // `object-server/1.conf` is how several servers of a machine are configured in Swift.
        if path.is_dir() && name.ends_with("-server") {
            let entries = std::fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok);
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            paths.into_iter().filter(|path| is_conf(path)).for_each(|path| self.add_file(path));
        } else if is_conf(&path) {
            self.add_file(path);
        }
    }

    fn add_file(&mut self, path: PathBuf) {
        match Conf::read(&path) {
            Ok(conf) => match declaration_of(&path, &conf) {
                Some(declaration) => self.files.push(ConfigFile { path, declaration, conf }),
                None => self.others.push(path),
            },
            Err(error) if by_name(&path).is_some() => self.unreadable.push(error.to_string()),
            Err(_) => self.others.push(path),
        }
    }

    /// Where `swift.conf` and the rings are.
    pub(crate) fn swift_dir(&self) -> PathBuf {
        if self.path.join("swift.conf").exists() {
            return self.path.clone();
        }
        let parent = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        let given = self.files.iter().find_map(|file| {
            let section = file.conf.section(&format!("app:{}-server", file.server()?.name()));
            ProcessOptions::read(&section).ok()?.swift_dir
        });
        match given {
            Some(given) => given,
            None if parent.join("swift.conf").exists() => parent,
            None => PathBuf::from("/etc/swift"),
        }
    }
}

fn is_conf(path: &Path) -> bool {
    let is = |word: &str| path.extension().is_some_and(|extension| extension == word);
    let is_folder = || path.file_stem().is_some_and(|stem| Path::new(stem).extension().is_some());
    is("conf") || (is("d") && path.is_dir() && is_folder())
}

fn by_name(path: &Path) -> Option<&'static FileDeclaration> {
    let name = path.file_name()?.to_str()?;
    let name = name.trim_end_matches(".d");
    let declared = FILES.iter().find(|file| file.name == name).copied();
    let of_daemon = || DAEMON_FILES.iter().find(|(file, _)| *file == name).map(|(_, file)| *file);
    declared.or_else(of_daemon)
}

/// The declaration of a file: by its name, else by its sections.
fn declaration_of(path: &Path, conf: &Conf) -> Option<&'static FileDeclaration> {
    let has_app = |file: &&&FileDeclaration| {
        let app = format!("app:{}", file.name.trim_end_matches(".conf"));
        file.sections.iter().any(|section| section.name == app)
            && conf.sections().any(|(name, _)| name == app)
    };
    // A pipeline of Swift's internal client has the proxy's name.
    let is_internal = path.file_name().is_some_and(|name| name == "internal-client.conf");
    by_name(path).or_else(|| FILES.iter().filter(|_| !is_internal).find(has_app).copied())
}

/// Checks the options of each file.
pub(crate) fn check(configuration: &Configuration, report: &mut Report) {
    for error in &configuration.unreadable {
        report.error(error);
    }
    for file in &configuration.files {
        check_file(file, report);
    }
    if !configuration.others.is_empty() {
        let names: Vec<_> =
            configuration.others.iter().filter_map(|path| path.file_name()).collect();
        let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        report.note(format!("not read here: {}", names.join(", ")));
    }
}

fn check_file(file: &ConfigFile, report: &mut Report) {
    let mut without_effect: Vec<&str> = Vec::new();
    let mut is_good = true;
    for finding in check_options(file.declaration, file.conf.given()) {
        let line = format!("{}:{}: {}", finding.given.file, finding.given.line, finding.text());
        match finding.problem {
            OptionProblem::WithoutEffect => without_effect.push(finding.given.name),
            _ if finding.is_error() => {
                is_good = false;
                report.error(line);
            }
            _ => report.warning(line),
        }
    }
    let path = file.path.display();
    if is_good && let Some(server) = file.server() {
        match verify(&file.conf, server) {
            Ok(warnings) => warnings.iter().for_each(|warning| report.warning(warning)),
            Err(error) => {
                is_good = false;
                report.error(error);
            }
        }
    }
    for daemon in ["object-expirer", "container-reconciler"] {
        let section = file.conf.section(daemon);
        if section.own().next().is_some()
            && is_good
            && let Err(error) = Share::read(&section)
        {
            is_good = false;
            report.error(error);
        }
    }
    if !without_effect.is_empty() {
        without_effect.sort_unstable();
        without_effect.dedup();
        report.note(format!(
            "{path}: options of Swift without effect: {}",
            without_effect.join(", ")
        ));
    }
    if is_good {
        report.passed(format!("{path}: {} options", file.conf.given().count()));
    }
}
