use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Timestamp;

const MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// A day in UTC, by which spending is counted. In JSON it is `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = Date)]
pub struct Day(i32);

impl Day {
    /// The day that is `days` days after 1970-01-01.
    #[must_use]
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i32 {
        self.0
    }
}

impl From<Timestamp> for Day {
    fn from(at: Timestamp) -> Self {
        // The quotient has at most nine digits.
        Self(i32::try_from(at.micros().div_euclid(MICROS)).unwrap_or(i32::MAX))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Date::constant(1970, 1, 1).checked_add(jiff::Span::new().days(self.0.clamp(-99_999, 99_999))) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "{}d", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let since = text.parse::<Date>()? - Date::constant(1970, 1, 1);
        Ok(Self(since.get_days()))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_equal_and_ends_at_midnight() {
        let at: Timestamp = "2026-11-25T23:59:59.999999Z".parse().unwrap();
        let day = Day::from(at);
        assert_eq!(day.to_string(), "2026-11-25");
        assert_eq!("2026-11-25".parse::<Day>().unwrap(), day);
        assert_eq!(Day::from(Timestamp::from_micros(at.micros() + 1)).to_string(), "2026-11-26");
        assert_eq!(Day::from(Timestamp::from_micros(-1)).to_string(), "1969-12-31");
    }
}
