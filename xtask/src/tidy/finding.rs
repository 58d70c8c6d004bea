use std::fmt;

/// Something that breaks a rule, said so that one knows how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The rule's name, for exceptions.
    pub(crate) rule: &'static str,
    /// From the root.
    pub(crate) file: String,
    /// From 1; 0 where the finding has no line.
    pub(crate) line: usize,
    /// The item in the file that it is about, empty for the file itself.
    pub(crate) item: String,
    /// What was seen, and the limit.
    pub(crate) what: String,
    /// What to do.
    pub(crate) mend: &'static str,
}

impl Finding {
    /// What an exception must name: `path` or `path::item`.
    pub(crate) fn at(&self) -> String {
        if self.item.is_empty() { self.file.clone() } else { format!("{}::{}", self.file, self.item) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, file, line, what, mend, .. } = self;
        write!(out, "{file}:{line}: {rule}: {what}; {mend}")
    }
}
