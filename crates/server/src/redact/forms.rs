//! In which forms a secret's value is looked for in what comes in: those of [`legwork_forms`], and line by line.

/// The shortest piece that is looked for.
pub(crate) const PIECE_BYTES_MIN: usize = legwork_forms::FORM_BYTES_MIN;

/// The shortest line of a value of several lines that is looked for by itself. Such values are keys and certificates, whose
/// lines are long.
const LINE_BYTES_MIN: usize = 16;

/// All forms of a value, each once.
pub(crate) fn of(value: &str) -> Vec<String> {
    let mut forms = legwork_forms::of(value);
    if value.contains('\n') {
        // However far they are moved to the right.
        let lines = legwork_forms::own_lines(value);
        forms.extend(lines.filter(|line| line.len() >= LINE_BYTES_MIN).map(str::to_owned));
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_not_looked_for() {
        let forms = of("-----BEGIN PRIVATE KEY-----\nline one is long enough\nshort\n");
        assert!(forms.iter().all(|form| form != "-----BEGIN PRIVATE KEY-----"), "it is in many programs");
        assert!(forms.iter().any(|form| form == "line one is long enough"));
        assert!(forms.iter().all(|form| form.len() >= PIECE_BYTES_MIN && form != "short"));
    }
}
