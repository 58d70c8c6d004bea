//! PHP: Composer.

use serde_json::Value;

use super::project;
use crate::tree::Place;
use crate::{Project, shell};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let manifest: Value = serde_json::from_str(place.text("composer.json")?).ok()?;
    let mut found = project("PHP", place, "composer.json", "a package of Composer")
        .needs("php", "")
        .needs("composer", "");
    if let Some(range) = manifest.get("require").and_then(|require| require.get("php")?.as_str()) {
        let range: String = range.chars().filter(|c| !c.is_control()).take(80).collect();
        found = found.because(place.path_of("composer.json"), format!("needs PHP {range}"));
    }
    found = found.installs("composer install --no-interaction --no-progress");
    let script = manifest.get("scripts").and_then(|scripts| {
        ["test", "tests", "phpunit"].into_iter().find(|name| scripts.get(name).is_some())
    });
    let phpunit = place.first(&["phpunit.xml", "phpunit.xml.dist"]);
    Some(if let Some(script) = script.filter(|name| shell::is_name(name)) {
        found
            .because(place.path_of("composer.json"), format!("a script {script:?}"))
            .tests(format!("composer {script}"))
    } else if let Some(file) = phpunit {
        found.because(place.path_of(file), "tests for PHPUnit").tests("vendor/bin/phpunit")
    } else if place.has_below("tests")
        && manifest.get("require-dev").is_some_and(|dev| dev.get("phpunit/phpunit").is_some())
    {
        found.because(place.path_of("tests"), "tests for PHPUnit").tests("vendor/bin/phpunit tests")
    } else {
        found
    })
}
