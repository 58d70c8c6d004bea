//! Which room knows which: the dependencies in the manifests against the allowed arrows.
//!
//! Only normal dependencies are arrows: a test may use a neighbour as its counterpart without the product knowing it.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata, Package};

use super::Finding;
use super::rules::Rules;
use crate::house::PREFIX;

/// Rooms with the rooms that they depend on.
pub(crate) type Rooms = BTreeMap<String, Vec<String>>;

/// The crates under `crates/`, by folder name, with their arrows.
pub(crate) fn rooms(metadata: &Metadata) -> Rooms {
    metadata.workspace_packages().into_iter().filter_map(room).collect()
}

fn room(package: &Package) -> Option<(String, Vec<String>)> {
    let name = package.name.strip_prefix(PREFIX)?;
    let folder = package.manifest_path.parent()?;
    if folder.parent()?.file_name()? != "crates" {
        return None;
    }
    let arrows = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .filter_map(|dependency| dependency.name.strip_prefix(PREFIX))
        .map(str::to_owned)
        .collect();
    Some((name.to_owned(), arrows))
}

/// Compares the arrows with the allowed ones, and their number and depth with the budget.
pub(crate) fn check(rooms: &Rooms, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (room, arrows) in rooms {
        match rules.arrows.get(room) {
            None => findings.push(found(room, "", format!("{room} is not in [arrows]"))),
            Some(allowed) => findings.extend(differences(room, arrows, allowed)),
        }
    }
    for room in rules.arrows.keys().filter(|room| !rooms.contains_key(*room)) {
        findings.push(found("", room, format!("[arrows] names {room}, which is no crate")));
    }
    findings.extend(budgets(rooms, rules));
    findings
}

fn differences(room: &str, arrows: &[String], allowed: &[String]) -> Vec<Finding> {
    let new = arrows.iter().filter(|to| !allowed.contains(to));
    let stale = allowed.iter().filter(|to| !arrows.contains(to));
    new.map(|to| found(room, to, format!("the arrow {room} → {to} is not allowed")))
        .chain(stale.map(|to| found(room, to, format!("the arrow {room} → {to} is allowed but not there"))))
        .collect()
}

fn budgets(rooms: &Rooms, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let average = average(rooms);
    if average > rules.limits.arrows_per_room {
        let what = format!("{average:.1} arrows a room, limit {:.1}", rules.limits.arrows_per_room);
        findings.push(found("", "", what));
    }
    let depth = rooms.keys().map(|room| depth(room, rooms)).max().unwrap_or(0);
    if depth > rules.limits.arrow_depth {
        let what = format!("the longest path has {depth} rooms, limit {}", rules.limits.arrow_depth);
        findings.push(found("", "", what));
    }
    findings
}

fn found(room: &str, item: &str, what: String) -> Finding {
    let file = if room.is_empty() { "tidy.toml".to_owned() } else { format!("crates/{room}/Cargo.toml") };
    let mend = "a new arrow needs a line in tidy.toml and a decision record; look for another room for the code first";
    Finding { rule: "arrow", file, line: 0, item: item.to_owned(), what, mend }
}

/// One line of figures.
pub(crate) fn figures(rooms: &Rooms) -> String {
    let depth = rooms.keys().map(|room| depth(room, rooms)).max().unwrap_or(0);
    format!("{} rooms, {:.1} arrows a room, depth {depth}", rooms.len(), average(rooms))
}

fn average(rooms: &Rooms) -> f64 {
    let arrows = u32::try_from(rooms.values().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
    let count = u32::try_from(rooms.len().max(1)).unwrap_or(u32::MAX);
    f64::from(arrows) / f64::from(count)
}

/// Rooms on the longest path from `room`, itself included. Cargo refuses cycles, so this ends.
fn depth(room: &str, rooms: &Rooms) -> usize {
    let below = rooms.get(room).into_iter().flatten().map(|to| depth(to, rooms)).max();
    1 + below.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::rules::sample;
    use super::*;

    fn house(arrows: &[(&str, &[&str])]) -> Rooms {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        arrows.iter().map(|(room, to)| ((*room).to_owned(), own(to))).collect()
    }

    fn whats(rooms: &Rooms) -> Vec<String> {
        check(rooms, &sample("")).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn the_arrows_that_are_allowed_pass() {
        assert!(whats(&house(&[("domain", &[]), ("git", &["domain"])])).is_empty());
    }

    #[test]
    fn an_arrow_too_many_and_one_too_few_are_seen() {
        let rooms = house(&[("domain", &["git"]), ("git", &[])]);
        assert_eq!(
            whats(&rooms),
            ["the arrow domain → git is not allowed", "the arrow git → domain is allowed but not there"]
        );
    }

    #[test]
    fn a_room_that_nobody_listed_and_a_listed_one_that_is_gone_are_seen() {
        let rooms = house(&[("domain", &[]), ("utils", &[])]);
        assert_eq!(whats(&rooms), ["utils is not in [arrows]", "[arrows] names git, which is no crate"]);
    }

    #[test]
    fn too_many_arrows_and_too_deep_a_path_ring() {
        let rooms = house(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b"]), ("d", &["a", "b"])]);
        let whats = whats(&rooms);
        assert!(whats.contains(&"1.2 arrows a room, limit 1.0".to_owned()), "{whats:?}");
        assert!(whats.contains(&"the longest path has 3 rooms, limit 2".to_owned()), "{whats:?}");
    }
}
