//! The best of several attempts, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use legwork_domain::{Judgement, Outcome, Proof, Verdict};

use crate::exit::Exit;
use crate::record::Record;
use crate::steps::line::stat;
use crate::summary::{spent, word_for};
use crate::text::{BOLD, DIM, GOOD, Line, PLAIN, count};

/// The attempt that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its number.
    pub number: u8,
    /// How it was chosen, for the user.
    pub why: String,
}

/// The best attempt: done before not done, then most checks fixed, fewest claims without proof, smallest patch, cheapest,
/// first. Only what was recorded counts, nothing that a model says of itself.
#[must_use]
pub fn best(records: &BTreeMap<u8, Record>) -> Option<Choice> {
    let (number, record) = records.iter().min_by_key(|(_, record)| rank(record))?;
    let why = match &record.ended {
        Some(ended) if Exit::of(ended) == Exit::Done && !record.verdicts.is_empty() => format!(
            "its checks hold ({}), then fewest unproven claims and smallest patch",
            count(fixed(&record.verdicts) as u64, "check") + " fixed"
        ),
        Some(ended) if Exit::of(ended) == Exit::Done => {
            "it is done, then fewest unproven claims and smallest patch; no checks were declared".to_owned()
        }
        _ => "none is done; this one came furthest".to_owned(),
    };
    Some(Choice { number: *number, why })
}

type Rank = (Option<u8>, Reverse<usize>, usize, u64, Option<u64>);

fn rank(record: &Record) -> Rank {
    let outcome = record.ended.as_ref().map_or(u8::MAX, |ended| match ended.outcome {
        Outcome::Succeeded => 0,
        Outcome::NoChange => 1,
        Outcome::LimitReached { .. } | Outcome::Failed { .. } | Outcome::Cancelled => 2,
    });
    let unproven =
        record.claims().iter().filter(|claim| matches!(claim.proof, Proof::Unproven { .. })).count();
    let size = record
        .patch
        .as_ref()
        .map_or(u64::MAX, |patch| u64::from(patch.stat.added) + u64::from(patch.stat.removed));
    (Some(outcome), Reverse(fixed(&record.verdicts)), unproven, size, record.usage().cost_microusd)
}

fn fixed(verdicts: &[Verdict]) -> usize {
    verdicts.iter().filter(|verdict| verdict.judgement == Judgement::Fixed).count()
}

/// All attempts and the choice; nothing where there is only one.
#[must_use]
pub fn table(records: &BTreeMap<u8, Record>, choice: &Choice) -> Vec<Line> {
    if records.len() < 2 {
        return Vec::new();
    }
    let mut lines = vec![Line::default(), Line::default().with(BOLD, "Attempts")];
    for (number, record) in records {
        let mark = if *number == choice.number { "▸" } else { " " };
        let mut line = Line::default().with(GOOD, &format!("  {mark} ")).with(PLAIN, &format!("{number}  "));
        if let Some(ended) = &record.ended {
            let (style, word) = word_for(&ended.outcome);
            line.push(style, word);
        }
        for (at, verdict) in record.verdicts.iter().enumerate() {
            line.push(DIM, if at == 0 { " · " } else { ", " });
            line = line.then(crate::steps::line::judgement(verdict.judgement));
        }
        if let Some(patch) = &record.patch {
            line = line.with(DIM, " · ").then(stat(&patch.stat));
        }
        line.push(DIM, &format!(" · {}", spent(&record.usage())));
        lines.push(line);
    }
    lines
        .push(Line::default().with(DIM, &format!("  Attempt {} was chosen: {}.", choice.number, choice.why)));
    lines.push(Line::default().with(DIM, "  Another: legwork task apply --attempt N"));
    lines
}

#[cfg(test)]
mod tests {
    use legwork_domain::{DiffStat, Ended, Patch, Timestamp};

    use super::*;

    fn record(outcome: Outcome, added: u32) -> Record {
        let patch = Patch {
            blob: "0".repeat(64).parse().unwrap(),
            base_commit: String::new(),
            tree: String::new(),
            stat: DiffStat { files: 1, added, removed: 0 },
        };
        let ended = Ended::nothing(outcome, "", Timestamp::from_micros(0));
        let mut record = Record::default();
        (record.patch, record.ended) = (Some(patch), Some(ended));
        record
    }

    #[test]
    fn done_wins_then_the_smaller_patch() {
        let failed = Outcome::Failed { reason: legwork_domain::Failure::Verification };
        let records = BTreeMap::from([
            (1, record(failed, 1)),
            (2, record(Outcome::Succeeded, 9)),
            (3, record(Outcome::Succeeded, 4)),
        ]);
        assert_eq!(best(&records).unwrap().number, 3);
        assert_eq!(best(&BTreeMap::new()), None);
    }
}
