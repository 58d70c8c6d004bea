//! What a provider's failure means, cut by what is done next.
//!
//! Providers agree on statuses only roughly: an empty account is a 429 at one, a 402 at the next, a 400 at the third. So
//! codes are looked at first, then known phrases, then the status.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

const QUOTA_CODES: &[&str] = &[
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "usage_limit_reached",
    "usage_not_included",
];
const QUOTA_PHRASES: &[&str] = &[
    "credit balance is too low",
    "specified api usage limits",
    "insufficient credits",
    "requires more credits",
];
const OVERFLOW_CODES: &[&str] =
    &["context_length_exceeded", "exceed_context_size_error", "request_too_large"];
const OVERFLOW_PHRASES: &[&str] = &[
    "maximum context length",
    "context length exceeded",
    "exceeds the context window",
    "exceeds the available context size",
    "exceed context limit",
    "prompt is too long",
    "input is too long",
    "input token count exceeds",
    "larger than the context size",
];
const AUTH_CODES: &[&str] =
    &["invalid_api_key", "authentication_error", "permission_error", "invalid_authentication"];
const FATAL_CODES: &[&str] = &[
    "invalid_prompt",
    "invalid_request_error",
    "invalid_request",
    "not_found_error",
    "model_not_found",
    "content_policy_violation",
    "cyber_policy",
    "unsupported_country_region_territory",
];
const BUSY_CODES: &[&str] = &[
    "rate_limit_exceeded",
    "rate_limit_error",
    "overloaded_error",
    "server_is_overloaded",
    "slow_down",
    "tokens",
    "requests",
];

/// Why one try failed. The words are the provider's, whole: who shows them redacts and cuts, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The key is refused.
    Auth(String),
    /// Nothing is left on the account.
    Quota(String),
    /// Too long for the model.
    Overflow(String),
    /// Would be refused again.
    Rejected {
        /// HTTP status or code.
        status: String,
        /// The provider's words.
        message: String,
    },
    /// Another try may succeed.
    Retry {
        /// Which counter it goes to.
        stage: Stage,
        /// One sentence.
        why: String,
        /// When.
        wait: Wait,
    },
}

/// How far a try got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not to the beginning of an answer.
    Connect,
    /// The answer had begun.
    Stream,
}

/// How long to wait before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as the number of failures says.
    Backoff,
    /// Longer: the provider has too much to do.
    Busy,
    /// As long as the provider says.
    Named(Duration),
}

impl Fault {
    /// An answer that broke off.
    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self::Retry { stage: Stage::Stream, why: why.into(), wait: Wait::Backoff }
    }

    /// A try that never became an answer.
    pub(crate) fn unreachable(why: impl Into<String>) -> Self {
        Self::Retry { stage: Stage::Connect, why: why.into(), wait: Wait::Backoff }
    }

    /// What an HTTP answer other than a stream means.
    pub(crate) fn of_response(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let told = Told::parse(body);
        let wait = named_wait(headers).or_else(|| wait_in(&told.message)).map(Wait::Named);
        match told.meaning(status).unwrap_or_else(|| of_status(status)) {
            Meaning::Auth => Self::Auth(told.sentence(status)),
            Meaning::Quota => Self::Quota(told.sentence(status)),
            Meaning::Overflow => Self::Overflow(told.sentence(status)),
            Meaning::Fatal => Self::Rejected { status: status.to_string(), message: told.sentence(status) },
            Meaning::Busy => told.again(status, wait.unwrap_or(Wait::Busy)),
            Meaning::Transient => told.again(status, wait.unwrap_or(Wait::Backoff)),
        }
    }

    /// What an error inside a stream means: any object with `code`, `type` and `message` in the usual places.
    pub(crate) fn of_event(error: &Value) -> Self {
        let told = Told::of(error);
        let message = told.sentence(0);
        match told.meaning(0).unwrap_or(Meaning::Transient) {
            Meaning::Auth => Self::Auth(message),
            Meaning::Quota => Self::Quota(message),
            Meaning::Overflow => Self::Overflow(message),
            Meaning::Fatal => Self::Rejected { status: told.code, message },
            meaning @ (Meaning::Busy | Meaning::Transient) => {
                let usual = if meaning == Meaning::Busy { Wait::Busy } else { Wait::Backoff };
                let wait = wait_in(&told.message).map_or(usual, Wait::Named);
                Self::Retry { stage: Stage::Stream, why: format!("the provider reports: {message}"), wait }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Auth,
    Quota,
    Overflow,
    Fatal,
    Busy,
    Transient,
}

const fn of_status(status: u16) -> Meaning {
    match status {
        401 | 403 => Meaning::Auth,
        402 => Meaning::Quota,
        413 => Meaning::Overflow,
        429 | 503 | 529 => Meaning::Busy,
        408 | 409 | 425 | 500..=599 => Meaning::Transient,
        _ => Meaning::Fatal,
    }
}

/// A provider's words, from whichever shape its error has.
#[derive(Default)]
struct Told {
    code: String,
    kind: String,
    message: String,
}

impl Told {
    fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => Self::of(&value),
            Err(_) => Self { message: String::from_utf8_lossy(body).trim().to_owned(), ..Self::default() },
        }
    }

    /// `{"error": {"code", "type", "message"}}` (OpenAI, Anthropic, OpenRouter, llama.cpp), the same without the outer
    /// object (vLLM, stream events), `{"error": "…"}` (Ollama), `{"detail": "…"}` (FastAPI).
    fn of(value: &Value) -> Self {
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
        let message = ["message", "detail"].iter().find_map(|key| error.get(key)).unwrap_or(error);
        Self { code: word(error.get("code")), kind: word(error.get("type")), message: word(Some(message)) }
    }

    fn meaning(&self, status: u16) -> Option<Meaning> {
        let has = |codes: &[&str]| codes.contains(&self.code.as_str()) || codes.contains(&self.kind.as_str());
        let message = self.message.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
        if has(QUOTA_CODES) || says(QUOTA_PHRASES) {
            Some(Meaning::Quota)
        } else if has(OVERFLOW_CODES) || (status != 429 && says(OVERFLOW_PHRASES)) {
            Some(Meaning::Overflow)
        } else if has(AUTH_CODES) {
            Some(Meaning::Auth)
        } else if has(BUSY_CODES) {
            Some(Meaning::Busy)
        } else if has(FATAL_CODES) && !(500..=599).contains(&status) && status != 429 {
            Some(Meaning::Fatal)
        } else {
            None
        }
    }

    fn sentence(&self, status: u16) -> String {
        match (self.message.is_empty(), status) {
            (false, _) => self.message.clone(),
            (true, 0) => format!("no message (code {:?})", self.code),
            (true, 300..=399) => "it redirects; name the final address as base URL".to_owned(),
            (true, _) => "no message".to_owned(),
        }
    }

    fn again(&self, status: u16, wait: Wait) -> Fault {
        Fault::Retry { stage: Stage::Connect, why: format!("HTTP {status}: {}", self.sentence(status)), wait }
    }
}

fn word(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// `retry-after-ms` (OpenAI, Azure), else `retry-after` in seconds or as HTTP date (RFC 9110, section 10.2.3).
fn named_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(ms / 1000.0).ok();
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(after).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The time in "try again in 11.054s", "retry in 1m30s", "retry after 20 seconds", "try again in 28ms".
fn wait_in(message: &str) -> Option<Duration> {
    let message = message.to_lowercase();
    let rest = ["try again in ", "retry in ", "retry after ", "try again after "]
        .iter()
        .find_map(|phrase| message.split_once(phrase).map(|(_, rest)| rest))?;
    let mut total = None;
    let mut rest = rest;
    while let Some((part, tail)) = first_duration(rest) {
        total = Some(total.unwrap_or(Duration::ZERO).saturating_add(part));
        rest = tail;
    }
    total
}

/// A number with its unit at the beginning of `text`, and what follows.
fn first_duration(text: &str) -> Option<(Duration, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text.get(..digits)?.trim_end_matches('.').parse().ok()?;
    let unit_on = text.get(digits..)?.trim_start();
    let letters = unit_on.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit_on.len());
    let (unit, tail) = unit_on.split_at(letters);
    let seconds = match unit {
        "ms" | "millisecond" | "milliseconds" => number / 1000.0,
        "s" | "sec" | "secs" | "second" | "seconds" => number,
        "m" | "min" | "minute" | "minutes" => number * 60.0,
        "h" | "hour" | "hours" => number * 3600.0,
        _ => return None,
    };
    Some((Duration::try_from_secs_f64(seconds).ok()?, tail))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(status: u16, body: &Value) -> Fault {
        Fault::of_response(status, &HeaderMap::new(), body.to_string().as_bytes())
    }

    fn name(fault: &Fault) -> String {
        match fault {
            Fault::Auth(_) => "auth".into(),
            Fault::Quota(_) => "quota".into(),
            Fault::Overflow(_) => "overflow".into(),
            Fault::Rejected { status, .. } => format!("rejected {status}"),
            Fault::Retry { wait, .. } => format!("retry {wait:?}"),
        }
    }

    #[test]
    fn real_providers_errors_are_told_apart() {
        let cases = [
            (401, json!({"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})),
            (403, json!({"type": "error", "error": {"type": "permission_error", "message": "no"}})),
            (403, json!({"error": {"code": "unsupported_country_region_territory", "message": "no"}})),
            (402, json!({"error": {"code": 402, "message": "Insufficient credits"}})),
            (
                429,
                json!({"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "q"}}),
            ),
            (
                400,
                json!({"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}),
            ),
            (400, json!({"error": {"code": "context_length_exceeded", "message": "m"}})),
            (
                400,
                json!({"error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens"}}),
            ),
            (
                400,
                json!({"object": "error", "message": "This model's maximum context length is 4096", "code": 400}),
            ),
            (400, json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "m"}})),
            (404, json!({"error": "model \"x\" not found, try pulling it first"})),
            (400, json!({"error": {"type": "invalid_request_error", "message": "Unknown parameter"}})),
            (
                429,
                json!({"error": {"code": "rate_limit_exceeded", "message": "Please try again in 11.054s."}}),
            ),
            (529, json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
            (500, json!({"error": {"type": "server_error", "message": "oops"}})),
            (302, json!(null)),
        ];
        let got: Vec<String> = cases.iter().map(|(status, body)| name(&fault(*status, body))).collect();
        insta::assert_snapshot!(got.join("\n"), @"
        auth
        auth
        rejected 403
        quota
        quota
        quota
        overflow
        overflow
        overflow
        overflow
        rejected 404
        rejected 400
        retry Named(11.054s)
        retry Busy
        retry Backoff
        rejected 302
        ");
    }

    #[test]
    fn named_waits_are_read_in_every_form() {
        let waits = |text: &str| wait_in(text).map(|wait| wait.as_millis());
        assert_eq!(waits("Please try again in 11.054s. Visit"), Some(11_054));
        assert_eq!(waits("try again in 28ms"), Some(28));
        assert_eq!(waits("Please try again in 1m30.5s"), Some(90_500));
        assert_eq!(waits("please retry after 20 seconds."), Some(20_000));
        assert_eq!(waits("try again in a while"), None);
        assert_eq!(waits("no time named"), None);

        let header = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            named_wait(&headers)
        };
        assert_eq!(header("retry-after", "2"), Some(Duration::from_secs(2)));
        assert_eq!(header("retry-after-ms", "15"), Some(Duration::from_millis(15)));
        assert_eq!(header("retry-after", "-1"), None);
        let at = SystemTime::now() + Duration::from_secs(100);
        let wait = header("retry-after", &httpdate::fmt_http_date(at)).unwrap().as_secs();
        assert!((95..=100).contains(&wait), "{wait}");
        assert_eq!(header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    }
}
