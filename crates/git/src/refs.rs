//! A repository's refs as data, and what a user's words mean among them.
//!
//! Read from the files of a local repository or from `git ls-remote`, resolved here, so that the usual case (a branch
//! whose commit was checked out before) starts no process, and so that a wrong name gets an answer that helps.

use std::collections::BTreeMap;

use crate::Error;

/// The most refs that are kept; the largest public repositories have about a million, of which branches and tags are few.
pub const REFS_MAX: usize = 200_000;

/// A repository's branches, tags and remote-tracking branches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refs {
    head: Option<Head>,
    refs: BTreeMap<Vec<u8>, Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Head {
    Branch(Vec<u8>),
    Detached(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    object: String,
    /// Of an annotated tag: what it points to in the end.
    peeled: Option<String>,
}

/// What a user's word means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// A full object id (a commit, or a tag that leads to one), or the first digits of one.
    pub object: String,
    /// Steps from there, such as `~2`; only `~`, `^` and digits.
    pub steps: String,
    /// The branch that it names, if it names one.
    pub branch: Option<String>,
    /// How the user would call it: `main`, `v1.2`, `HEAD`.
    pub name: String,
    /// `sha1` or `sha256`, as `git init --object-format` has it; the first digits of an id do not tell.
    pub format: &'static str,
}

impl Resolved {
    /// Whether `object` is a whole object id and no step has to be gone.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        is_object_id(&self.object) && self.steps.is_empty()
    }
}

/// A whole SHA-1 or SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hex(text)
}

/// The hash that an object id is made by.
#[must_use]
pub fn object_format(object: &str) -> &'static str {
    if object.len() == 64 { "sha256" } else { "sha1" }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Refs {
    /// Reads the answer of [`crate::mirror::list`].
    ///
    /// # Errors
    /// [`Error::Output`] for a line that is none of `ls-remote`'s.
    pub fn listed(output: &[u8]) -> Result<Self, Error> {
        let wrong = Error::Output { what: "lines of an object id and a ref, from ls-remote" };
        let mut refs = Self::default();
        for line in output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(REFS_MAX) {
            let Some(tab) = line.iter().position(|byte| *byte == b'\t') else { return Err(wrong) };
            let (value, name) = (&line[..tab], &line[tab + 1..]);
            if let Some(target) = value.strip_prefix(b"ref: ") {
                if name == b"HEAD" {
                    refs.head = Some(Head::Branch(target.to_vec()));
                }
                continue;
            }
            let object = text_id(value).ok_or_else(|| wrong.clone())?;
            match name.strip_suffix(b"^{}") {
                _ if name == b"HEAD" => {
                    refs.head.get_or_insert(Head::Detached(object));
                }
                Some(tag) => refs.peel(tag, object),
                None => refs.insert(name, object),
            }
        }
        Ok(refs)
    }

    /// Adds a `packed-refs` file. What is there already (loose refs) wins.
    pub fn add_packed(&mut self, contents: &[u8]) {
        let mut last: Option<Vec<u8>> = None;
        for line in contents.split(|byte| *byte == b'\n') {
            if let Some(peeled) = line.strip_prefix(b"^") {
                if let (Some(tag), Some(object)) = (last.take(), text_id(peeled)) {
                    self.peel(&tag, object);
                }
                continue;
            }
            last = None;
            let Some(space) = line.iter().position(|byte| *byte == b' ') else { continue };
            let (Some(object), name) = (text_id(&line[..space]), &line[space + 1..]) else { continue };
            if !self.refs.contains_key(name) {
                self.insert(name, object);
                last = Some(name.to_vec());
            }
        }
    }

    /// Adds a ref's own file. One that names another ref is left out: the other has its own.
    pub fn add_loose(&mut self, name: &[u8], contents: &[u8]) {
        if let Some(object) = text_id(contents.trim_ascii()) {
            self.insert(name, object);
        }
    }

    /// Sets `HEAD` from its file.
    pub fn set_head(&mut self, contents: &[u8]) {
        let contents = contents.trim_ascii();
        self.head = match contents.strip_prefix(b"ref:") {
            Some(name) => Some(Head::Branch(name.trim_ascii().to_vec())),
            None => text_id(contents).map(Head::Detached),
        };
    }

    /// Whether the refs are kept in a form that only git can read (`reftable`): ask git inside a sandbox.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.head == Some(Head::Branch(b"refs/heads/.invalid".to_vec()))
    }

    /// What `name` means; `None` is `HEAD`.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::UnknownRef`] with names that look like it, [`Error::AmbiguousRef`].
    pub fn resolve(&self, repository: &str, name: Option<&str>) -> Result<Resolved, Error> {
        if self.refs.is_empty() && !matches!(self.head, Some(Head::Detached(_))) {
            return Err(Error::Empty { repository: repository.to_owned() });
        }
        let name = name.unwrap_or("HEAD");
        let (stem, steps) = name.find(['~', '^']).map_or((name, ""), |at| name.split_at(at));
        if !steps.bytes().all(|byte| matches!(byte, b'~' | b'^' | b'0'..=b'9')) {
            return Err(self.unknown(name));
        }
        let mut resolved = self.stem(stem)?;
        if let Some(any) = self.refs.values().next() {
            resolved.format = object_format(&any.object);
        }
        if !steps.is_empty() {
            resolved.branch = None;
            name.clone_into(&mut resolved.name);
            steps.clone_into(&mut resolved.steps);
        }
        Ok(resolved)
    }

    fn stem(&self, stem: &str) -> Result<Resolved, Error> {
        let found = |object: &str, branch: Option<&str>| Resolved {
            object: object.to_owned(),
            steps: String::new(),
            branch: branch.map(str::to_owned),
            name: stem.to_owned(),
            format: object_format(object),
        };
        if stem == "HEAD" || stem == "@" {
            return self.head();
        }
        if is_object_id(stem) {
            return Ok(found(stem, None));
        }
        let branch = self.get(&format!("refs/heads/{stem}"));
        let tag = self.get(&format!("refs/tags/{stem}"));
        match (branch, tag) {
            (Some(branch), Some(tag)) if branch.commit() != tag.commit() => Err(Error::AmbiguousRef {
                name: stem.to_owned(),
                choices: vec![format!("the branch heads/{stem}"), format!("the tag tags/{stem}")],
            }),
            (Some(branch), _) => Ok(found(branch.commit(), Some(stem))),
            (None, Some(tag)) => Ok(found(tag.commit(), None)),
            (None, None) => self
                .qualified(stem)
                .map(|(target, branch)| found(target.commit(), branch))
                .or_else(|| (stem.len() >= ABBREVIATION_MIN && is_hex(stem)).then(|| found(stem, None)))
                .ok_or_else(|| self.unknown(stem)),
        }
    }

    fn qualified<'a>(&self, stem: &'a str) -> Option<(&Target, Option<&'a str>)> {
        let full = ["", "refs/", "refs/remotes/"].iter().find_map(|prefix| {
            let full = format!("{prefix}{stem}");
            self.get(&full).filter(|_| full.starts_with("refs/"))
        })?;
        Some((full, stem.trim_start_matches("refs/").strip_prefix("heads/")))
    }

    fn head(&self) -> Result<Resolved, Error> {
        let resolved = |object: &str, branch: Option<String>, name: String| Resolved {
            object: object.to_owned(),
            steps: String::new(),
            branch,
            name,
            format: object_format(object),
        };
        match &self.head {
            Some(Head::Detached(object)) => Ok(resolved(object, None, "HEAD".to_owned())),
            Some(Head::Branch(full)) => {
                let short = full.strip_prefix(b"refs/heads/").unwrap_or(full);
                let name = String::from_utf8_lossy(short).into_owned();
                let target = self.refs.get(full).ok_or_else(|| self.unknown(&name))?;
                let branch = std::str::from_utf8(short).ok().map(str::to_owned);
                Ok(resolved(target.commit(), branch, name))
            }
            None => Err(self.unknown("HEAD")),
        }
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownRef { name: name.to_owned(), near: self.near(name) }
    }

    /// Up to five names that contain `name`, are contained in it or differ from it by few letters; all of them if few.
    fn near(&self, name: &str) -> Vec<String> {
        const NEAR_MAX: usize = 5;
        /// Comparing costs the product of the lengths.
        const COMPARED_MAX: usize = 20_000;
        let mut near: Vec<(usize, String)> = self
            .refs
            .keys()
            .take(COMPARED_MAX)
            .filter_map(|full| short(full))
            .map(|short| (distance(name, &short), short))
            .filter(|(distance, short)| {
                *distance <= 2 + name.len() / 4
                    || (name.len() > 2 && short.contains(name))
                    || self.refs.len() <= NEAR_MAX
            })
            .collect();
        near.sort();
        near.dedup();
        near.into_iter().take(NEAR_MAX).map(|(_, short)| short).collect()
    }

    fn get(&self, full: &str) -> Option<&Target> {
        self.refs.get(full.as_bytes())
    }

    fn insert(&mut self, name: &[u8], object: String) {
        if self.refs.len() < REFS_MAX {
            self.refs.insert(name.to_vec(), Target { object, peeled: None });
        }
    }

    fn peel(&mut self, tag: &[u8], object: String) {
        if let Some(target) = self.refs.get_mut(tag) {
            target.peeled = Some(object);
        }
    }
}

/// Git's own minimum (`core.abbrev`).
const ABBREVIATION_MIN: usize = 4;

impl Target {
    fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.object)
    }
}

fn text_id(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| is_object_id(text)).map(str::to_owned)
}

fn short(full: &[u8]) -> Option<String> {
    let full = std::str::from_utf8(full).ok()?;
    ["refs/heads/", "refs/tags/", "refs/remotes/"]
        .iter()
        .find_map(|prefix| full.strip_prefix(prefix))
        .map(str::to_owned)
}

/// The number of letters to add, drop or change (Levenshtein), of names cut to 64 letters.
fn distance(a: &str, b: &str) -> usize {
    const LETTERS_MAX: usize = 64;
    let b: Vec<char> = b.chars().take(LETTERS_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(LETTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    fn refs() -> Refs {
        let listed = format!(
            "ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{A}\trefs/heads/main\n{B}\trefs/heads/both\n\
             {C}\trefs/tags/both\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n{A}\trefs/heads/a\u{3000}b;$(id)\n\
             {B}\trefs/heads/-x\n{C}\trefs/remotes/origin/dev\n"
        );
        Refs::listed(listed.as_bytes()).unwrap()
    }

    fn object(name: &str) -> String {
        refs().resolve("r", Some(name)).unwrap().object
    }

    #[test]
    fn names_mean_what_git_says() {
        assert_eq!(object("main"), A);
        assert_eq!(object("v1"), C, "an annotated tag leads to its commit");
        assert_eq!(object("heads/both"), B);
        assert_eq!(object("refs/tags/both"), C);
        assert_eq!(object("origin/dev"), C);
        assert_eq!(object("-x"), B);
        assert_eq!(object("a\u{3000}b;$(id)"), A);
        assert_eq!(object("abcd"), "abcd");
        assert_eq!(refs().resolve("r", None).unwrap().branch.as_deref(), Some("main"));
        let parent = refs().resolve("r", Some("main~2^")).unwrap();
        assert_eq!((parent.object.as_str(), parent.steps.as_str(), parent.branch.clone()), (A, "~2^", None));
        assert!(!parent.is_exact());
    }

    #[test]
    fn a_wrong_name_gets_help() {
        let error = |name: &str| refs().resolve("r", Some(name)).unwrap_err().to_string();
        insta::assert_snapshot!(error("mian"), @r#"no branch, tag or commit is named "mian"; there is main"#);
        insta::assert_snapshot!(error("both"), @r#""both" may mean the branch heads/both or the tag tags/both; say which one"#);
        insta::assert_snapshot!(error("main^{tree}"), @r#"no branch, tag or commit is named "main^{tree}""#);
        insta::assert_snapshot!(Refs::default().resolve("r", None).unwrap_err().to_string(), @"the repository r has no commit yet; make one first");
    }

    #[test]
    fn files_read_as_git_writes_them() {
        let mut refs = Refs::default();
        refs.add_loose(b"refs/heads/main", format!("{B}\n").as_bytes());
        refs.add_loose(b"refs/remotes/origin/HEAD", b"ref: refs/remotes/origin/main\n");
        let packed = format!("# pack-refs with: peeled\n{A} refs/heads/main\n{A} refs/tags/t\n^{C}\n\nbad\n");
        refs.add_packed(packed.as_bytes());
        refs.set_head(b"ref: refs/heads/main\n");
        assert_eq!(refs.resolve("r", None).unwrap().object, B, "a loose ref wins");
        assert_eq!(refs.resolve("r", Some("t")).unwrap().object, C);
        refs.set_head(b"ref: refs/heads/.invalid\n");
        assert!(refs.is_elsewhere());
    }

    #[test]
    fn odd_bytes_do_no_harm() {
        assert!(Refs::listed(b"no tab").is_err());
        assert!(Refs::listed(b"zz\trefs/heads/x").is_err());
        let mut refs = Refs::default();
        refs.set_head(b"ref: refs/heads/\xff\xfe");
        refs.add_loose(b"refs/heads/\xff\xfe", A.as_bytes());
        let head = refs.resolve("r", None).unwrap();
        assert_eq!((head.object.as_str(), head.branch), (A, None));
    }
}
