//! What commands are told of what they did not get: each its own.
//!
//! Several run at the same time, and only the one that was blocked can do something about it. A connection says which command its
//! program belongs to. What belongs to none that runs (nobody could see the program, it has outlived its command, it is a daemon) is
//! told to whichever ends next, for that is better than to nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use legwork_sandbox::CommandId;
use tokio::sync::Notify;

/// Lines of one command, and of none, that wait.
const WAITING_MAX: usize = 20;

/// Lines of no command that are remembered, so that each is told once.
const TOLD_MAX: usize = 2000;

/// The lines of one sandbox.
#[derive(Default)]
pub(super) struct Lines {
    running: HashMap<CommandId, Own>,
    /// Commands that are being started: their programs may be there before it is known which they are.
    starting: usize,
    /// Of no command that is known to run.
    stray: Vec<(Option<CommandId>, String)>,
    told: HashSet<String>,
}

/// Those of one command.
#[derive(Default)]
struct Own {
    /// Each once.
    lines: Vec<String>,
    /// So many of them were given to it.
    given: usize,
    /// So many were there at the last look.
    aged: usize,
    news: Arc<Notify>,
}

impl Own {
    fn add(&mut self, line: String) {
        if self.lines.len() < WAITING_MAX && !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    fn take(&mut self) -> Vec<String> {
        let fresh = self.lines.split_off(self.given.min(self.lines.len()));
        // They stay, so that they are known.
        self.lines.extend(fresh.iter().cloned());
        self.given = self.lines.len();
        fresh
    }
}

impl Lines {
    /// A command is about to be started. `started` or `not_started` must follow.
    pub(super) const fn starting(&mut self) {
        self.starting += 1;
    }

    /// It was not.
    pub(super) const fn not_started(&mut self) {
        self.starting = self.starting.saturating_sub(1);
    }

    /// It runs. What is given back has news when it has lines that should not wait for its end.
    pub(super) fn started(&mut self, id: CommandId) -> Arc<Notify> {
        self.not_started();
        let mut own = Own::default();
        let early = self.stray.extract_if(.., |(of, _)| *of == Some(id));
        early.for_each(|(_, line)| own.add(line));
        let news = Arc::clone(&own.news);
        self.running.insert(id, own);
        news
    }

    /// A line for the command, if it is one that runs.
    pub(super) fn add(&mut self, of: Option<CommandId>, line: String) {
        if let Some(own) = of.and_then(|id| self.running.get_mut(&id)) {
            own.add(line);
        } else if self.stray.len() < WAITING_MAX
            && self.stray.iter().all(|known| *known != (of, line.clone()))
        {
            self.stray.push((of, line));
        }
    }

    /// Looks at who has waited since the last call: a command that goes on and on is told while it does.
    pub(super) fn age(&mut self) {
        for own in self.running.values_mut() {
            if own.aged > own.given {
                own.news.notify_one();
            }
            own.aged = own.lines.len();
        }
    }

    /// What a command that goes on was not told yet.
    pub(super) fn so_far(&mut self, id: CommandId) -> Vec<String> {
        self.running.get_mut(&id).map_or_else(Vec::new, Own::take)
    }

    /// What a command that ends is told.
    pub(super) fn at_end(&mut self, id: Option<CommandId>) -> Vec<String> {
        let own = id.and_then(|id| self.running.get_mut(&id)).map_or_else(Vec::new, Own::take);
        let may_be_started = |of: &Option<CommandId>| self.starting > 0 && of.is_some();
        let stray = self.stray.extract_if(.., |(of, _)| !may_be_started(of));
        let fresh = stray
            .map(|(_, line)| line)
            .filter(|line| self.told.len() < TOLD_MAX && self.told.insert(line.clone()));
        own.into_iter().chain(fresh).collect()
    }

    /// Nobody listens to it any more.
    pub(super) fn ended(&mut self, id: CommandId) {
        self.running.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CommandId = CommandId(7);
    const B: CommandId = CommandId(8);

    fn both() -> Lines {
        let mut lines = Lines::default();
        for id in [A, B] {
            lines.starting();
            lines.started(id);
        }
        lines
    }

    #[test]
    fn each_command_is_told_its_own_and_the_next_what_is_nobodys() {
        let mut lines = both();
        lines.add(Some(A), "a".into());
        lines.add(Some(A), "a".into());
        lines.add(None, "stray".into());
        lines.add(Some(CommandId(9)), "outlived".into());
        assert_eq!(lines.at_end(Some(B)), ["stray", "outlived"]);
        lines.add(None, "stray".into());
        assert_eq!(lines.at_end(Some(A)), ["a"], "and what is nobody's is told once");
        lines.ended(A);
        lines.add(Some(A), "late".into());
        assert_eq!(lines.at_end(None), ["late"]);
    }

    #[test]
    fn who_is_just_being_started_is_told_what_was_seen_before_it_was_known() {
        let mut lines = both();
        let c = CommandId(9);
        lines.starting();
        lines.add(Some(c), "early".into());
        assert!(lines.at_end(Some(A)).is_empty());
        lines.started(c);
        assert_eq!((lines.at_end(Some(B)).len(), lines.at_end(Some(c))), (0, vec!["early".to_owned()]));
    }

    #[test]
    fn who_goes_on_is_told_at_the_second_look_and_not_again_at_its_end() {
        let mut lines = Lines::default();
        lines.starting();
        let news = lines.started(A);
        let has_news = || futures::FutureExt::now_or_never(news.notified()).is_some();
        lines.add(Some(A), "a".into());
        lines.age();
        assert!(!has_news(), "it may end by itself");
        lines.age();
        assert!(has_news());
        assert_eq!(lines.so_far(A), ["a"]);
        lines.add(Some(A), "a".into());
        lines.age();
        lines.age();
        assert!(!has_news() && lines.at_end(Some(A)).is_empty());
    }
}
