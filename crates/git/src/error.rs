/// What is wrong, cut by what the person who named the repository or the base can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The repository cannot be used as it was named: name another one, or mend it as `why` says.
    #[error("cannot use the repository {repository}: {why}")]
    Repository {
        /// As it was named, without credentials.
        repository: String,
        /// What is wrong with it.
        why: String,
    },
    /// It has no commit yet.
    #[error("the repository {repository} has no commit yet; make one first")]
    Empty {
        /// As it was named, without credentials.
        repository: String,
    },
    /// No branch, tag or commit has that name.
    #[error("no branch, tag or commit is named {name:?}{}", nearby(near))]
    UnknownRef {
        /// What was asked for.
        name: String,
        /// Names that look like it, nearest first.
        near: Vec<String>,
    },
    /// Several things have that name.
    #[error("{name:?} may mean {}; say which one", choices.join(" or "))]
    AmbiguousRef {
        /// What was asked for.
        name: String,
        /// What it may mean.
        choices: Vec<String>,
    },
    /// Git answered something that this room cannot read: a defect of ours, or a git that is too old or too new.
    #[error("git's answer is not what was expected: {what}")]
    Output {
        /// What was expected.
        what: &'static str,
    },
}

fn nearby(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is {}", near.join(", ")) }
}
