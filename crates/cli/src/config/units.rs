//! Amounts as people write them: `30m`, `200k`, `2.50`.

/// Milliseconds of `90s`, `30m`, `2h`.
///
/// # Errors
/// What is expected, for the person who wrote it.
pub fn time(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no length of time; write it as 90s, 30m or 2h");
    let unit = match text.chars().last() {
        Some('s') => 1000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    number.checked_mul(unit).filter(|ms| *ms > 0).ok_or_else(expected)
}

/// Milliseconds of `30d`, or of what [`time`] reads.
///
/// # Errors
/// What is expected, for the person who wrote it.
pub fn lifetime(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days.and_then(|days| days.checked_mul(24 * 3_600_000)) {
        Some(ms) if ms > 0 => Ok(ms),
        Some(_) | None => {
            time(text).map_err(|_| format!("{text:?} is no length of time; write it as 30d or 12h"))
        }
    }
}

/// Tokens of `50000`, `200k`, `2M`.
///
/// # Errors
/// What is expected, for the person who wrote it.
pub fn tokens(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no number of tokens; write it as 50000, 200k or 2M");
    let (digits, unit) = match text.chars().last() {
        Some('k' | 'K') => (&text[..text.len() - 1], 1000),
        Some('m' | 'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(unit).filter(|tokens| *tokens > 0).ok_or_else(expected)
}

/// Millionths of a dollar of `2`, `2.50`, `$0.10`.
///
/// # Errors
/// What is expected, for the person who wrote it.
pub fn money(text: &str) -> Result<u64, String> {
    /// More than any task may cost by mistake, and far below what a float keeps exactly.
    const DOLLARS_MAX: f64 = 1e6;
    let expected = || format!("{text:?} is no sum in US dollars; write it as 2 or 0.50");
    let dollars: f64 = text.trim_start_matches('$').parse().map_err(|_| expected())?;
    if !(dollars > 0.0 && dollars <= DOLLARS_MAX) {
        return Err(expected());
    }
    // In range by the line above.
    Ok((dollars * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_written() {
        assert_eq!([time("90s"), time("30m"), time("2h")], [Ok(90_000), Ok(1_800_000), Ok(7_200_000)]);
        assert_eq!([tokens("50000"), tokens("200k"), tokens("2M")], [Ok(50_000), Ok(200_000), Ok(2_000_000)]);
        assert_eq!([money("2"), money("$0.50"), money("0.000001")], [Ok(2_000_000), Ok(500_000), Ok(1)]);
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "s", "10", "0s", "-1m", "1d", "ü", "99999999999999999h"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(
            ["", "k", "0", "-1", "1e3", "99999999999999999999M"].iter().all(|text| tokens(text).is_err())
        );
        assert!(["", "0", "-1", "nan", "inf", "1e99", "ten"].iter().all(|text| money(text).is_err()));
    }
}
