//! When a delivery is tried again.

use legwork_domain::Timestamp;

/// The first pause: a receiver that is being restarted.
const FIRST_MS: i64 = 5_000;
/// Each pause is so many times the one before.
const GROWTH: i64 = 3;
/// The longest one, so that a receiver that is mended hears within a working day.
const LONGEST_MS: i64 = 8 * 60 * 60 * 1000;
/// How long a delivery is tried: a weekend and its Monday.
const TRIED_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// Pauses differ by up to this part, so that what failed together does not come back together.
const JITTER: f64 = 0.2;

/// The time of the try after the one of this number, which failed at `at`; `None` if it is not tried again.
pub(super) fn next(tries: u32, since: Timestamp, at: Timestamp) -> Option<Timestamp> {
    let pause = jittered(pause_ms(tries), fastrand::f64());
    let due_at = at.plus_ms(pause);
    (due_at <= since.plus_ms(TRIED_MS)).then_some(due_at)
}

fn pause_ms(tries: u32) -> i64 {
    FIRST_MS.saturating_mul(GROWTH.saturating_pow(tries.saturating_sub(1))).min(LONGEST_MS)
}

/// `chance` is from 0 to 1.
fn jittered(pause_ms: i64, chance: f64) -> i64 {
    let factor = 1.0 - JITTER + 2.0 * JITTER * chance;
    // Far below 2^52, so exact enough, and not negative.
    (pause_ms as f64 * factor) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_after_three_days() {
        assert_eq!([1, 2, 3].map(pause_ms), [5_000, 15_000, 45_000]);
        assert_eq!([9, 99, u32::MAX].map(pause_ms), [LONGEST_MS; 3]);
        let (since, mut at, mut tries) = (Timestamp::from_micros(0), Timestamp::from_micros(0), 1);
        while let Some(due_at) = next(tries, since, at) {
            assert!(due_at > at);
            (at, tries) = (due_at, tries + 1);
        }
        let days = at.ms_since(since) as f64 / 86_400_000.0;
        assert!((2.6..=3.0).contains(&days) && (12..30).contains(&tries), "{days} days, {tries} tries");
    }

    #[test]
    fn jitter_keeps_to_its_part() {
        assert_eq!([0.0, 0.5, 1.0].map(|chance| jittered(1000, chance)), [800, 1000, 1200]);
    }
}
