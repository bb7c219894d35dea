//! Resolution of a link to its target, step by step.

use apus_cluster::{ObjectPath, percent};

use super::link::{ALLOWS_RESERVED, EXTENDS, Link};
use crate::context::Context;
use crate::operation::ObjectHead;
use crate::{Error, Kind, Result, Subject};

/// Maximum number of links that do not count (Swift's versioning writes one before each version).
const UNCOUNTED_MAX: usize = 8;

/// The links that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FollowedLinks {
    /// All links.
    All,
    /// Static ones: a dynamic link is an ordinary object to a static link that names it.
    Static,
}

/// A walk from a link to its target.
pub(super) struct Walk<'a> {
    caller: &'a Context,
    follows: FollowedLinks,
    /// Number of links that may still be followed.
    left: usize,
    /// Number of followed links that do not count.
    uncounted: usize,
    /// The context of the next step.
    pub(super) cx: Context,
    /// The current name.
    pub(super) name: ObjectPath,
    /// The current name as clients see it, once a link was followed.
    pub(super) location: Option<String>,
    /// The etag that the last static link requires of its target.
    required: Option<String>,
}

fn conflict(text: impl Into<String>) -> Error {
    Error::new(Kind::Conflict, Subject::Object).text(text)
}

impl<'a> Walk<'a> {
    pub(super) fn from(
        caller: &'a Context,
        name: &ObjectPath,
        follows: FollowedLinks,
        symloop_max: usize,
    ) -> Self {
        Self {
            caller,
            follows,
            left: symloop_max,
            uncounted: 0,
            cx: caller.clone(),
            name: name.clone(),
            location: None,
            required: None,
        }
    }

    /// Requires an etag of the target, as a static link would that is not written yet.
    pub(super) fn requiring(mut self, etag: &str) -> Self {
        self.required = Some(etag.to_owned());
        self.location = Some(encoded(&self.name));
        self
    }

    /// Checks the object that was found, and moves on when it is a link: `true`.
    ///
    /// # Errors
    /// `Conflict` when a target does not have the etag that a static link requires, or there are too
    /// many links; `PreconditionFailed` for a target with a reserved name.
    pub(super) fn step(&mut self, found: &ObjectHead, symloop_max: usize) -> Result<bool> {
        let link = Link::of(found)?
            .filter(|link| self.follows == FollowedLinks::All || link.etag.is_some());
        let Some(link) = link else {
            return match &self.required {
                Some(required) if !found.etag.is_empty() && *required != found.etag => {
                    Err(conflict(format!(
                        "Object Etag '{}' does not match X-Symlink-Target-Etag header '{required}'",
                        found.etag
                    )))
                }
                _ => Ok(false),
            };
        };
        let own = link.etag.as_ref().unwrap_or(&found.etag);
        if self.required.as_ref().is_some_and(|required| required != own) {
            return Err(conflict("X-Symlink-Target-Etag headers do not match"));
        }
        let to = link.target.of(self.name.account());
        let reserved = to.container.container.is_reserved() || to.object.is_reserved();
        let allowed = found.get(ALLOWS_RESERVED).is_some() && to.account() == self.name.account();
        if reserved && !allowed {
            return Err(Error::new(Kind::PreconditionFailed, Subject::Object));
        }
        let extends = found.get(EXTENDS).is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let room = if extends {
            UNCOUNTED_MAX.checked_sub(self.uncounted + 1)
        } else {
            self.left.checked_sub(1)
        };
        if room.is_none() {
            return Err(conflict(format!(
                "Too many levels of symbolic links, maximum allowed is {symloop_max}"
            )));
        }
        if extends {
            self.uncounted += 1;
        } else {
            self.left -= 1;
        }
        // Each step starts with the rights of the caller: a reserved object may link to any name.
        self.cx = if reserved { self.caller.as_system("symlink") } else { self.caller.clone() };
        self.location = Some(encoded(&to));
        self.required = link.etag;
        self.name = to;
        Ok(true)
    }

    /// Adds the current name to an error.
    pub(super) fn locate(&self, mut error: Error) -> Error {
        error.location.clone_from(&self.location);
        error
    }
}

/// A path as clients see it.
pub(super) fn encoded(path: &ObjectPath) -> String {
    percent::encode_path(&path.to_string())
}

#[cfg(test)]
mod tests {
    use apus_cluster::{AccountName, ContainerName, ContainerPath, Metadata, ObjectName};

    use super::super::link::{TARGET, TARGET_ACCOUNT, TARGET_ETAG};
    use super::*;
    use crate::context::Authority;

    fn caller() -> Context {
        Context { authority: Authority::Caller, ..Context::system("test", "tx") }
    }

    fn name(container: &str, object: &str) -> ObjectPath {
        let container = ContainerName::parse(container).unwrap();
        ContainerPath::new(AccountName::parse("a").unwrap(), container)
            .object(ObjectName::parse(object).unwrap())
    }

    fn object(etag: &str, items: &[(&str, &str)]) -> ObjectHead {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let metadata: Metadata = items.iter().map(pair).collect();
        ObjectHead { etag: etag.to_owned(), metadata, ..ObjectHead::default() }
    }

    fn kind(result: Result<bool>) -> std::result::Result<bool, Kind> {
        result.map_err(|error| error.kind)
    }

    #[test]
    fn links_in_a_row_are_counted_except_extending_ones() {
        let cx = caller();
        let mut walk = Walk::from(&cx, &name("c", "o"), FollowedLinks::All, 2);
        let link = object("", &[(TARGET, "c/next")]);
        let extending = object("", &[(TARGET, "c/next"), (EXTENDS, "true")]);
        for step in [&link, &extending, &link] {
            assert_eq!(kind(walk.step(step, 2)), Ok(true));
        }
        assert_eq!(walk.location.as_deref(), Some("/a/c/next"));
        assert_eq!(kind(walk.step(&link, 2)), Err(Kind::Conflict));
        let mut walk = Walk::from(&cx, &name("c", "o"), FollowedLinks::All, 2);
        let steps = (0..=UNCOUNTED_MAX).map(|_| kind(walk.step(&extending, 2)));
        assert_eq!(steps.last(), Some(Err(Kind::Conflict)), "a loop ends");
    }

    #[test]
    fn a_static_link_resolves_to_one_content_only() {
        let cx = caller();
        let link = object("", &[(TARGET, "c/t"), (TARGET_ETAG, "one")]);
        let same = object("", &[(TARGET, "c/u"), (TARGET_ETAG, "one")]);
        let walk = || {
            let mut walk = Walk::from(&cx, &name("c", "o"), FollowedLinks::All, 2);
            assert_eq!(kind(walk.step(&link, 2)), Ok(true));
            walk
        };
        assert_eq!(kind(walk().step(&object("one", &[]), 2)), Ok(false));
        assert_eq!(kind(walk().step(&object("two", &[]), 2)), Err(Kind::Conflict));
        assert_eq!(kind(walk().step(&same, 2)), Ok(true));
        let dynamic = object("empty", &[(TARGET, "c/u")]);
        assert_eq!(kind(walk().step(&dynamic, 2)), Err(Kind::Conflict));
        let mut written =
            Walk::from(&cx, &name("c", "t"), FollowedLinks::Static, 2).requiring("empty");
        assert_eq!(kind(written.step(&dynamic, 2)), Ok(false), "the target is the link itself");
    }

    #[test]
    fn reserved_names_are_for_links_of_swift_and_for_one_step() {
        let cx = caller();
        let path = "%00versions%00c/%00v";
        let clients = object("", &[(TARGET, path)]);
        let swifts = object("", &[(TARGET, path), (ALLOWS_RESERVED, "true")]);
        let far = object("", &[(TARGET, path), (ALLOWS_RESERVED, "true"), (TARGET_ACCOUNT, "b")]);
        let mut walk = Walk::from(&cx, &name("c", "o"), FollowedLinks::All, 2);
        assert_eq!(kind(walk.step(&clients, 2)), Err(Kind::PreconditionFailed));
        assert_eq!(kind(walk.step(&far, 2)), Err(Kind::PreconditionFailed));
        assert_eq!(kind(walk.step(&swifts, 2)), Ok(true));
        assert_eq!(walk.cx.authority, Authority::System("symlink"));
        assert_eq!(kind(walk.step(&object("", &[(TARGET, "c/t")]), 2)), Ok(true));
        assert_eq!(walk.cx.authority, Authority::Caller);
    }
}
