//! A file as lines, each with the ending that it has. Lines that stay keep theirs, so mixed endings survive.

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// `\n`.
    Lf,
    /// `\r\n`.
    CrLf,
    /// `\r` alone.
    Cr,
}

impl Ending {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::Cr => b"\r",
        }
    }
}

/// A stretch of a file that is replaced: first line, number of lines, new lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replacement<'a> {
    /// The first line that goes, or the place of a pure insertion.
    pub(super) start: usize,
    /// How many lines go.
    pub(super) count: usize,
    /// What comes.
    pub(super) new: Vec<&'a str>,
}

/// A file.
pub(super) struct Text<'a> {
    /// Without their endings.
    pub(super) lines: Vec<&'a [u8]>,
    endings: Vec<Option<Ending>>,
}

impl<'a> Text<'a> {
    pub(super) fn read(contents: &'a [u8]) -> Self {
        let (mut lines, mut endings, mut rest) = (Vec::new(), Vec::new(), contents);
        while !rest.is_empty() {
            let (length, ending) = first_line(rest);
            lines.push(&rest[..length]);
            endings.push(ending);
            rest = &rest[length + ending.map_or(0, |ending| ending.bytes().len())..];
        }
        Self { lines, endings }
    }

    /// The file with `replacements`, which are in order and do not overlap, and with an ending on its last line.
    ///
    /// New lines get the file's first ending, as editors and formatters choose it.
    pub(super) fn replaced(&self, replacements: &[Replacement<'_>]) -> Vec<u8> {
        let ending = self.endings.first().copied().flatten().unwrap_or(Ending::Lf);
        let mut contents = Vec::new();
        let mut next = 0;
        for replacement in replacements {
            self.copy(next..replacement.start, ending, &mut contents);
            for line in &replacement.new {
                contents.extend_from_slice(line.as_bytes());
                contents.extend_from_slice(ending.bytes());
            }
            next = replacement.start + replacement.count;
        }
        self.copy(next..self.lines.len(), ending, &mut contents);
        contents
    }

    fn copy(&self, lines: std::ops::Range<usize>, default: Ending, contents: &mut Vec<u8>) {
        for index in lines {
            contents.extend_from_slice(self.lines[index]);
            contents.extend_from_slice(self.endings[index].unwrap_or(default).bytes());
        }
    }
}

fn first_line(rest: &[u8]) -> (usize, Option<Ending>) {
    let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
        return (rest.len(), None);
    };
    let ending = match &rest[length..] {
        [b'\r', b'\n', ..] => Ending::CrLf,
        [b'\r', ..] => Ending::Cr,
        _ => Ending::Lf,
    };
    (length, Some(ending))
}
