//! Where a turn keeps what it makes for others, and what of others it may read.
//!
//! Set-ups, checkouts and what was detected are made once and used by many tasks, so whoever makes one writes what others run. That is
//! for members alone: what an outsider's task makes lies in a compartment of that task's own. It reads there first and then
//! what members made, which members wrote for anybody who works on the commit; nobody reads it from there. The name of a compartment
//! is part of the name of what lies in it, so there is no rule that a reader could forget.

use std::path::{Path, PathBuf};

use legwork_domain::{Assignment, TaskId, Trust};
use legwork_git::Url;

use crate::cache;

/// A turn's place in the caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compartment {
    /// Whose it is; `None`: the members'.
    task: Option<TaskId>,
    /// How often the caches of the repository were reset.
    generation: u64,
}

impl Compartment {
    pub(crate) fn of(assignment: &Assignment) -> Self {
        let task = &assignment.task;
        Self {
            task: (task.request.trust == Trust::Outsider).then_some(task.id),
            generation: assignment.pins.generation,
        }
    }

    /// Under which name it keeps what others call `name`.
    pub(crate) fn own(&self, name: &str) -> String {
        match &self.task {
            None => name.to_owned(),
            Some(task) => cache::key(&[b"outsider", task.to_string().as_bytes(), name.as_bytes()]),
        }
    }

    /// Under which names it may find what others call `name`, its own first.
    pub(crate) fn names(&self, name: &str) -> impl Iterator<Item = String> + use<> {
        let members = self.task.map(|_| name.to_owned());
        std::iter::once(self.own(name)).chain(members)
    }

    /// Part of the name of all that a reset forgets.
    pub(crate) const fn generation(&self) -> [u8; 8] {
        self.generation.to_le_bytes()
    }

    pub(crate) const fn trust(&self) -> Trust {
        match self.task {
            None => Trust::Member,
            Some(_) => Trust::Outsider,
        }
    }
}

/// Our bare mirror of a remote repository below a worker's `data`; there once a turn has fetched it. A patch against one
/// of its commits can be committed and pushed from there. Outsiders have one of their own: theirs may hold commits that no member
/// asked for.
#[must_use]
pub fn mirror_of(data: &Path, url: &Url, trust: Trust) -> PathBuf {
    let url = url.secret().as_bytes();
    let name = match trust {
        Trust::Member => cache::key(&[url]),
        Trust::Outsider => cache::key(&[url, b"outsiders"]),
    };
    data.join("mirrors").join(format!("{name}.git"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(compartment: &Compartment) -> Vec<String> {
        compartment.names("x").collect()
    }

    #[test]
    fn nobody_reads_what_an_outsider_writes_and_it_reads_what_members_do() {
        let of = |task: Option<u128>| Compartment { task: task.map(TaskId::from_u128), generation: 0 };
        let (members, one, two) = (of(None), of(Some(1)), of(Some(2)));
        assert_eq!(names(&members), ["x"]);
        assert_eq!(names(&one), [one.own("x"), "x".to_owned()]);
        assert!(!names(&members).contains(&one.own("x")) && !names(&two).contains(&one.own("x")));
    }
}
