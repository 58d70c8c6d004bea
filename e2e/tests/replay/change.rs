//! The difference of two trees as a model would write it: a patch in the `apply_patch` format, or exact replacements.
//!
//! Like a model, it quotes a few lines around each change; unlike one, it takes more of them until what it quotes can
//! mean only one place.

use std::fmt::Write as _;
use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::tree::{File, Tree};

/// Lines around a change, as in a unified diff.
const AROUND: usize = 3;

/// One edit of the `edit_file` family.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// The one place that reads `old` is to read `new`.
    Replace { path: String, old: String, new: String },
    /// The whole file.
    Write { path: String, content: String },
    /// No such file any more.
    Delete { path: String },
}

/// `before` → `after` in the `apply_patch` format.
pub(crate) fn patch(before: &Tree, after: &Tree) -> Result<String> {
    let mut out = String::from("*** Begin Patch\n");
    for path in before.differences(after) {
        match (before.get(&path), after.get(&path)) {
            (Some(_), None) => writeln!(out, "*** Delete File: {path}")?,
            (old, Some(new)) => file_patch(&mut out, &path, old, new)?,
            (None, None) => {}
        }
    }
    out.push_str("*** End Patch\n");
    Ok(out)
}

fn file_patch(out: &mut String, path: &str, old: Option<&File>, new: &File) -> Result<()> {
    let new = text(path, new)?;
    ensure!(new.is_empty() || new.ends_with('\n'), "{path}: the format cannot leave out the final newline");
    let Some(old) = old else {
        writeln!(out, "*** Add File: {path}")?;
        return new.lines().try_for_each(|line| writeln!(out, "+{line}").map_err(Into::into));
    };
    let (old, new): (Vec<&str>, Vec<&str>) = (text(path, old)?.lines().collect(), new.lines().collect());
    writeln!(out, "*** Update File: {path}")?;
    let mut from = 0;
    let spots = spots(&old, &new);
    for (at, spot) in spots.iter().enumerate() {
        let next = spots.get(at + 1).map_or(old.len(), |next| next.old.start);
        from = chunk(out, &old, &new, &Reach { from, next, spot })?;
    }
    Ok(())
}

/// A place of change, and how far its context may reach.
struct Reach<'a> {
    /// The line after the last chunk.
    from: usize,
    /// The first old line of the next change.
    next: usize,
    spot: &'a Spot,
}

/// Writes one chunk; gives the old line after it.
fn chunk(out: &mut String, old: &[&str], new: &[&str], reach: &Reach<'_>) -> Result<usize> {
    let Spot { old: was, new: is } = reach.spot;
    let end = was.end + AROUND.min(reach.next - was.end);
    let mut start = was.start - AROUND.min(was.start - reach.from);
    while find(old, &old[start..end], reach.from) != Some(start) {
        start -= 1;
    }
    match header(old, reach.from, start) {
        Some(header) => writeln!(out, "@@ {header}")?,
        None => writeln!(out, "@@")?,
    }
    let mut lines = |mark: char, lines: &[&str]| -> Result<()> {
        lines.iter().try_for_each(|line| writeln!(out, "{mark}{line}").map_err(Into::into))
    };
    lines(' ', &old[start..was.start])?;
    lines('-', &old[was.clone()])?;
    lines('+', &new[is.clone()])?;
    lines(' ', &old[was.end..end])?;
    if end == old.len() {
        out.push_str("*** End of File\n");
    }
    Ok(end)
}

/// The definition around line `start`, where its line means only one place after `from`.
fn header<'a>(old: &[&'a str], from: usize, start: usize) -> Option<&'a str> {
    const WORDS: [&str; 6] = ["def ", "class ", "fn ", "pub fn ", "impl ", "function "];
    let at =
        (from..start).rev().find(|at| WORDS.iter().any(|word| old[*at].trim_start().starts_with(word)))?;
    (find(old, &old[at..=at], from) == Some(at)).then_some(old[at])
}

/// `before` → `after` as replacements and whole files.
pub(crate) fn edits(before: &Tree, after: &Tree) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for path in before.differences(after) {
        match (before.get(&path), after.get(&path)) {
            (Some(old), Some(new)) => replacements(&mut edits, &path, text(&path, old)?, text(&path, new)?),
            (None, Some(new)) => {
                let content = text(&path, new)?.to_owned();
                edits.push(Edit::Write { path, content });
            }
            (_, None) => edits.push(Edit::Delete { path }),
        }
    }
    Ok(edits)
}

/// From the last place to the first, so that the lines before one are still those of `old`.
fn replacements(edits: &mut Vec<Edit>, path: &str, old: &str, new: &str) {
    let (was, is): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let mut now = was.clone();
    for spot in spots(&was, &is).into_iter().rev() {
        let mut around = 1;
        let (start, end) = loop {
            let start = spot.old.start.saturating_sub(around);
            let end = (spot.old.end + around).min(now.len());
            if now.concat().matches(&now[start..end].concat()).count() == 1 || end - start == now.len() {
                break (start, end);
            }
            around += 1;
        };
        let fresh = [&now[start..spot.old.start], &is[spot.new], &now[spot.old.end..end]].concat();
        edits.push(Edit::Replace {
            path: path.to_owned(),
            old: now[start..end].concat(),
            new: fresh.concat(),
        });
        now.splice(start..end, fresh);
    }
}

/// Lines that differ.
struct Spot {
    old: Range<usize>,
    new: Range<usize>,
}

/// The places of change, those with fewer than [`AROUND`] lines between them as one.
fn spots(old: &[&str], new: &[&str]) -> Vec<Spot> {
    let mut spots: Vec<Spot> = Vec::new();
    let changes = capture_diff_slices(Algorithm::Myers, old, new);
    for op in changes.iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        match spots.last_mut() {
            Some(last) if op.old_range().start < last.old.end + AROUND => {
                last.old.end = op.old_range().end;
                last.new.end = op.new_range().end;
            }
            _ => spots.push(Spot { old: op.old_range(), new: op.new_range() }),
        }
    }
    spots
}

/// Where `lines` first stand in `all` from `from` on.
fn find(all: &[&str], lines: &[&str], from: usize) -> Option<usize> {
    if lines.is_empty() {
        return Some(from);
    }
    all.get(from..)?.windows(lines.len()).position(|window| window == lines).map(|at| at + from)
}

fn text<'a>(path: &str, file: &'a File) -> Result<&'a str> {
    let text = std::str::from_utf8(&file.bytes).with_context(|| format!("{path} is no text"))?;
    ensure!(!text.contains('\r'), "{path} has carriage returns");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str =
        "class A:\n  def f():\n    x\n    y\n    z\n    1\n  def g():\n    x\n    y\n    z\n    1\n";

    fn trees() -> (Tree, Tree) {
        let before = Tree::default().with("a.py", OLD.as_bytes()).with("gone", b"x\n");
        let after =
            OLD.replace("  def g():\n    x\n    y\n    z\n    1", "  def g():\n    x\n    y\n    z\n    2");
        (before, Tree::default().with("a.py", after.as_bytes()).with("new", b"n\n"))
    }

    #[test]
    fn a_chunk_quotes_enough_to_mean_one_place() -> Result<()> {
        let (before, after) = trees();
        let expected = "*** Begin Patch\n*** Update File: a.py\n@@   def f():\n   def g():\n     x\n     y\n     z\n\
                        -    1\n+    2\n*** End of File\n*** Delete File: gone\n*** Add File: new\n+n\n*** End Patch\n";
        assert_eq!(patch(&before, &after)?, expected);
        Ok(())
    }

    #[test]
    fn a_replacement_quotes_enough_to_mean_one_place() -> Result<()> {
        let (before, after) = trees();
        let edits = edits(&before, &after)?;
        let Edit::Replace { old, new, .. } = &edits[0] else { panic!("{edits:?}") };
        assert_eq!(OLD.matches(old.as_str()).count(), 1);
        assert_eq!(OLD.replacen(old, new, 1).as_bytes(), after.get("a.py").unwrap().bytes);
        assert_eq!(edits[1], Edit::Delete { path: "gone".into() });
        assert_eq!(edits[2], Edit::Write { path: "new".into(), content: "n\n".into() });
        Ok(())
    }
}
