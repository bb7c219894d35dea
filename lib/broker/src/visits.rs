//! Memory of a daemon from pass to pass: databases that needed nothing.
//!
//! It is in memory only and bounded; a database that is not in it is checked again. A process that
//! has just started remembers nothing.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Databases that are remembered at most, at about 50 bytes each.
const DATABASES_MAX: usize = 1 << 20;

/// A value for each database, by its file.
#[derive(Debug)]
pub struct Visits<V> {
    /// By the hash of the path, with the last pass that visited it. Two paths with one hash only cost
    /// time, since the value fits one of them alone.
    found: HashMap<u64, (u32, V)>,
    pass: u32,
}

impl<V> Default for Visits<V> {
    fn default() -> Self {
        Self { found: HashMap::new(), pass: 0 }
    }
}

fn key(database: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    database.hash(&mut hasher);
    hasher.finish()
}

impl<V: Copy> Visits<V> {
    /// The value of a database that this pass visits.
    pub fn get(&mut self, database: &Path) -> Option<V> {
        let (pass, found) = self.found.get_mut(&key(database))?;
        *pass = self.pass;
        Some(*found)
    }

    /// Remembers a database, if there is room.
    pub fn insert(&mut self, database: &Path, found: V) {
        let key = key(database);
        if self.found.len() < DATABASES_MAX || self.found.contains_key(&key) {
            self.found.insert(key, (self.pass, found));
        }
    }

    /// Forgets a database.
    pub fn remove(&mut self, database: &Path) {
        self.found.remove(&key(database));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    /// Ends a pass over everything: databases that it did not visit are gone, and are forgotten.
    pub fn end_pass(&mut self) {
        let pass = self.pass;
        self.found.retain(|_, (seen, _)| *seen == pass);
        self.pass = pass.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_that_a_pass_did_not_visit_are_forgotten() {
        let (a, b) = (Path::new("/sdb/a.db"), Path::new("/sdb/b.db"));
        let mut visits = Visits::default();
        visits.insert(a, 1);
        visits.insert(b, 2);
        visits.end_pass();
        assert_eq!(visits.get(a), Some(1));
        visits.end_pass();
        assert_eq!((visits.get(a), visits.get(b)), (Some(1), None));
        visits.remove(a);
        assert_eq!(visits.get(a), None);
    }
}
